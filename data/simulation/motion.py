"""How the simulated signer moves: a gloss sentence becomes a moving body, one posture a frame.

Each sign is a stroke between transitions. Strokes and transitions are laid out in time, sampled
once a frame, and run into each other through a Gaussian kernel, so that quick signs undershoot and
take on their neighbours' shapes. A one-handed sign leaves the other hand where it was or lets it
sink. Every sign is done a little differently each time, and every signer has habits of their own.
All randomness of a sentence comes from (seed, sentence id), of a habit from (seed, signer, gloss).

Space and units as in `simulated_lexicon`; motion is planned for a right-handed signer and mirrored
at the end. The other hand is planned as a right hand in a mirrored space of its own.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from data.keyed_random import generator
from data.simulation.body import (
    CLAVICLE,
    CONTACTS,
    POSE_HEAD,
    POSE_LEGS,
    REST_POSES,
    Signer,
    bend_wrist,
    face_mesh,
    hand_joints,
    multiply,
    reach,
    rotation_matrices,
)
from data.simulation.lexicon import (
    BASE_PLACE,
    BROWS,
    HAND_ANGLES,
    HANDSHAPES,
    HEAD_MOVEMENTS,
    MOUTHS,
    MOVEMENTS,
    NEUTRAL_PLACES,
    ON_BASE,
    ORIENTATIONS,
    PLACES,
    RELAXED_HAND,
    Sign,
    ease,
    vary_sign,
)

# Columns of a planned posture: one hand is contact point, where the contact is on the hand,
# orientation, joint angles.
_POINT, _CONTACT, _TURN, _FINGERS = (
    slice(0, 3),
    slice(3, 6),
    slice(6, 10),
    slice(10, 10 + HAND_ANGLES),
)
_HAND = 10 + HAND_ANGLES
_MOUTH, _BROW, _HEAD = (
    slice(2 * _HAND, 2 * _HAND + 3),
    slice(2 * _HAND + 3, 2 * _HAND + 5),
    slice(2 * _HAND + 5, None),
)
_COLUMNS = 2 * _HAND + 8
_AMPLITUDE = 0.4  # shoulder widths, of a movement of size 1
_MIRROR = np.array([-1, 1, 1], np.float32)


@dataclass(frozen=True)
class Body:
    """A moving body in shoulder widths, not yet seen by a camera: float32 arrays with one row a
    frame."""

    pose: np.ndarray  # (T, 33, 3)
    face: np.ndarray  # (T, 468, 3)
    hands: np.ndarray  # (T, 2, 21, 3): left, right


@dataclass(frozen=True)
class _Variation:
    """How one signer does one gloss, or does it this time, against the lexicon's form."""

    point: np.ndarray
    turn: np.ndarray  # a small rotation, as a quaternion
    fingers: np.ndarray
    size: float
    mouth: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, point: float, turn: float, fingers: float, size: float
    ) -> "_Variation":
        rotation = np.concatenate([[1.0], rng.normal(0, turn / 2, 3)])
        return cls(
            rng.normal(0, point, 3),
            rotation / np.linalg.norm(rotation),
            rng.normal(0, fingers, HAND_ANGLES) * np.repeat([1.0, 0.3, 1.0], [8, 1, 3]),
            float(np.exp(rng.normal(0, size))),
            float(np.exp(rng.normal(0, 0.3))),
        )


def drift(rng: np.random.Generator, frames: int, memory: np.ndarray) -> np.ndarray:
    """First-order autoregressive noise (frames, len(memory)) of unit variance; `memory`: lag-one
    correlations."""
    memory = np.asarray(memory, np.float32)
    noise = rng.standard_normal((frames, len(memory)), dtype=np.float32)
    noise[1:] *= np.sqrt(1 - memory * memory)
    for before, now in pairwise(noise):
        now += memory * before
    return noise


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian smoothing in time of (T, C), edges held; `deviation` in frames."""
    radius = max(1, int(np.ceil(3 * deviation)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    padded = np.concatenate(
        [np.repeat(values[:1], radius, 0), values, np.repeat(values[-1:], radius, 0)]
    )
    parts = (
        tap * padded[start : start + len(values)]
        for start, tap in enumerate((taps / taps.sum()).tolist())
    )
    return sum(parts)


def combine(weights: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """weights (T, K) times shapes (K, N) → (T, N). Not `@`: a BLAS rounds by its number of threads,
    and bytes must not."""
    total = weights[:, :1] * shapes[0]
    for weight, shape in zip(weights.T[1:], shapes[1:], strict=True):
        total += weight[:, None] * shape
    return total


def combine_frames(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weights (T, K) times values (T, K, N), frame by frame → (T, N)."""
    total = weights[:, :1] * values[:, 0]
    for column in range(1, weights.shape[1]):
        total += weights[:, column : column + 1] * values[:, column]
    return total


class Performer:
    """Signs sentences as one signer, with signs from a lexicon."""

    def __init__(self, signer: Signer, lexicon: dict[str, Sign], seed: int):
        self.signer, self.lexicon, self.seed = signer, lexicon, seed
        self._taken = {sign.manual for sign in lexicon.values()}
        self._habits: dict[str, tuple[Sign, _Variation]] = {}

    def habit(self, gloss: str) -> tuple[Sign, _Variation]:
        """This signer's form of a gloss: for one in ten, another handshape or orientation than the
        lexicon's."""
        if gloss not in self._habits:
            rng = generator(self.seed, "habit", self.signer.name, gloss)
            sign = self.lexicon[gloss]
            if rng.random() < 0.1:
                other = vary_sign(sign, rng)
                sign = sign if other.manual in self._taken else other
            self._habits[gloss] = sign, _Variation.draw(rng, 0.11, 0.35, 0.22, 0.25)
        return self._habits[gloss]

    # ---- planning ----

    def perform(self, sentence: str, glosses: tuple[str, ...], frames: int | None = None) -> Body:
        """The body signing `glosses`, in exactly `frames` frames, or at the signer's own pace where
        that is None.

        `sentence` is the id that its randomness is keyed by.
        """
        rng = generator(self.seed, "motion", sentence)
        tokens = [self._token(gloss, rng) for gloss in glosses]
        rest = self._rest(rng)
        others = self._other_hand(tokens, rest, rng)
        # Postures at the start and the end of every stroke; the sentence begins and ends at rest.
        edges = [
            self._stroke(*token, other, np.array([0.0, 1.0]))
            for token, other in zip(tokens, others, strict=True)
        ]
        # (n + 2, 2, columns)
        edges = np.stack([np.stack([rest, rest]), *edges, np.stack([rest, rest])])
        bounds = self._timing(tokens, edges, frames, rng)
        frames = frames or max(1, round(bounds[-1]))
        bounds *= frames / bounds[-1]

        time = np.arange(frames) + 0.5
        segment = np.minimum(np.searchsorted(bounds[1:], time, side="right"), len(bounds) - 2)
        phase = (time - bounds[segment]) / (bounds[segment + 1] - bounds[segment])
        plan = np.empty((frames, _COLUMNS))
        moving = segment % 2 == 1  # odd segments are transitions
        plan[moving] = self._transitions(edges, segment[moving] // 2, phase[moving], rng)
        for index in range(len(tokens) + 2):
            here = segment == 2 * index
            if not here.any():
                continue
            if 0 < index <= len(tokens):
                u = np.clip((phase[here] - 0.08) / 0.84, 0, 1)
                plan[here] = self._stroke(*tokens[index - 1], others[index - 1], u)
            else:
                plan[here] = rest
        return self._embody(self._run_together(plan), rng)

    def _token(
        self, gloss: str, rng: np.random.Generator
    ) -> tuple[Sign, _Variation, _Variation, bool]:
        sign, habit = self.habit(gloss)
        token = _Variation.draw(rng, 0.07, 0.17, 0.11, 0.22)
        locus = rng.normal(0, (0.12, 0.05, 0.05))
        if sign.place in NEUTRAL_PLACES:
            # Who and what is meant decides where in space
            token = replace(token, point=token.point + locus)
        if rng.random() < 0.15:
            token = replace(token, mouth=0.0)  # not every sign is mouthed
        if sign.turns > 1 and rng.random() < 0.15:
            sign = replace(sign, turns=sign.turns - 1)
        # A two-handed sign done with one hand
        weak_drop = sign.hands == "symmetric" and rng.random() < 0.05
        return (replace(sign, hands="one") if weak_drop else sign), habit, token, rng.random() < 0.5

    def _rest(self, rng: np.random.Generator) -> np.ndarray:
        point, orientation = REST_POSES[self.signer.rest]
        posture = np.zeros(_COLUMNS)
        for start in (0, _HAND):
            hand = posture[start : start + _HAND]
            hand[_POINT] = np.array(point) + rng.normal(0, 0.05, 3)
            hand[_CONTACT] = CONTACTS["palm"]
            hand[_TURN] = ORIENTATIONS[orientation]
            hand[_FINGERS] = RELAXED_HAND + rng.normal(0, 0.08, HAND_ANGLES)
        return posture

    def _other_hand(
        self, tokens: list, rest: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray | None]:
        """Where the other hand is while the dominant one signs alone: (22,) posture, or None where
        it takes part."""
        state, others = rest[_HAND : 2 * _HAND].copy(), []
        for sign, habit, token, _ in tokens:
            if sign.hands != "one":
                others.append(None)
                end = self._stroke(sign, habit, token, False, None, np.array([1.0]))[0]
                state = end[_HAND : 2 * _HAND].copy()
                continue
            if rng.random() > self.signer.perseveration:
                state = rest[_HAND : 2 * _HAND].copy()
            state[1] += 0.05  # a held hand sinks a little
            others.append(state.copy())
        return others

    def _stroke(
        self,
        sign: Sign,
        habit: _Variation,
        token: _Variation,
        head_left: bool,
        other: np.ndarray | None,
        u: np.ndarray,
    ) -> np.ndarray:
        """Postures (N, columns) at progress u (N,) through a sign."""
        movement = MOVEMENTS[sign.movement]
        place, contact = ON_BASE if sign.place == "base" else PLACES[sign.place]
        phase = u * sign.turns if movement.cyclic else ease(u)
        size = _AMPLITUDE * sign.size * habit.size * token.size * self.signer.amplitude
        precision = 0.5 if contact == "tip" else 1.0  # places on the head are found more precisely
        origin = np.array(place) + precision * (habit.point + token.point + self.signer.offset)
        turn = multiply(multiply(token.turn, habit.turn), ORIENTATIONS[sign.orientation])
        first, last = HANDSHAPES[sign.handshape], HANDSHAPES[sign.end_handshape]
        fingers = first + ease(u)[:, None] * (last - first) + habit.fingers + token.fingers

        rows = np.empty((len(u), _COLUMNS))
        shifts = {"symmetric": (0.0, 0.0), "alternating": (0.0, 0.5)}.get(sign.hands, (0.0,))
        for start, shift in zip((0, _HAND), shifts, strict=False):
            hand = rows[:, start : start + _HAND]
            shifted = phase + shift
            hand[:, _POINT] = origin + size * movement.path(shifted)
            if len(shifts) == 2:
                hand[:, 0] = np.minimum(hand[:, 0], -0.16)  # two hands do not go through each other
            hand[:, _CONTACT] = CONTACTS[contact]
            hand[:, _TURN] = turn
            swing = np.sin(2 * np.pi * shifted)[:, None]
            # Around the forearm, and across the wrist
            for axis, angle in ((2, movement.twist), (1, movement.nod)):
                if angle:
                    small = np.zeros((len(u), 4))
                    small[:, :1], small[:, axis : axis + 1] = (
                        np.cos(angle * swing / 2),
                        np.sin(angle * swing / 2),
                    )
                    hand[:, _TURN] = multiply(hand[:, _TURN], small)
            hand[:, _FINGERS] = fingers
            if movement.wiggle:
                wave = np.sin(2 * np.pi * (3 * u[:, None] + np.arange(4) / 4))
                hand[:, 10:14] += movement.wiggle * (wave + 0.6)
        if other is not None:
            rows[:, _HAND : 2 * _HAND] = other
        elif sign.hands == "base":
            rows[:, _HAND : 2 * _HAND] = np.concatenate(
                [
                    np.array(BASE_PLACE) + habit.point * _MIRROR + token.point * _MIRROR,
                    CONTACTS["palm"],
                    multiply(token.turn, ORIENTATIONS[sign.base_orientation]),
                    HANDSHAPES[sign.base_handshape] + habit.fingers - token.fingers,
                ]
            )
        visemes = np.array([MOUTHS[name] for name in sign.mouth])
        bell = np.sin(np.pi * np.clip(u, 0.1, 0.9))[:, None]
        strength = np.clip(self.signer.mouth * habit.mouth * token.mouth, 0, 1.4)
        rows[:, _MOUTH] = (
            strength * bell * (visemes[0] + ease(u)[:, None] * (visemes[1] - visemes[0]))
        )
        rows[:, _BROW] = np.array(BROWS[sign.brow]) * (0.7 * habit.mouth)
        turns = np.sin(2 * np.pi * u) if sign.head == "turn" else np.sin(np.pi * u)
        rows[:, _HEAD] = (
            turns[:, None]
            * np.array(HEAD_MOVEMENTS[sign.head])
            * habit.size
            * (1 if head_left else -1)
        )
        rows[:, _HEAD][:, 1] = np.abs(rows[:, _HEAD][:, 1])  # a nod goes down
        return rows

    def _timing(
        self, tokens: list, edges: np.ndarray, frames: int | None, rng: np.random.Generator
    ) -> np.ndarray:
        """Segment boundaries in frames: rest, then a transition and a stroke for each sign, a
        transition, rest."""
        gap = edges[1:, 0] - edges[:-1, 1]
        distance = np.linalg.norm(gap[:, _POINT], axis=1)
        transitions = (2.4 + 2.6 * distance) * np.exp(rng.normal(0, 0.15, len(gap)))
        strokes = []
        for sign, *_ in tokens:
            movement = MOVEMENTS[sign.movement]
            strokes.append(
                movement.frames * (1 + 0.6 * (sign.turns - 1)) * np.exp(rng.normal(0, 0.25))
            )
        rests = rng.uniform(0.5, 5.0, 2)
        durations = np.empty(2 * len(tokens) + 3)
        durations[0], durations[-1] = rests
        durations[1::2], durations[2:-1:2] = transitions, strokes
        return np.concatenate([[0.0], np.cumsum(durations)]) / self.signer.speed

    def _transitions(
        self, edges: np.ndarray, index: np.ndarray, phase: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        before, after = edges[index, 1], edges[index + 1, 0]
        weight = np.repeat(ease(phase)[:, None], _COLUMNS, axis=1)
        for start in (0, _HAND):
            fingers, turn = (
                slice(start + _FINGERS.start, start + _HAND),
                slice(start + 6, start + 10),
            )
            # The hand is shaped before it arrives
            weight[:, fingers] = ease(np.minimum(1, 1.35 * phase))[:, None]
            opposite = (
                np.sum(before[:, turn] * after[:, turn], axis=1) < 0
            )  # q and -q are one rotation: the shorter way
            after[opposite, turn] *= -1
        rows = before + weight * (after - before)
        # Hands do not travel in straight lines: they bow towards the viewer, and up or down.
        bow = np.sin(np.pi * ease(phase)) * np.linalg.norm((after - before)[:, _POINT], axis=1)
        bend = rng.normal(0, 0.06, len(edges))
        rows[:, 1] += bow * bend[index]
        rows[:, 2] -= 0.08 * bow
        return rows

    def _run_together(self, plan: np.ndarray) -> np.ndarray:
        for start in (6, _HAND + 6):
            turn = plan[:, start : start + 4]
            flips = np.where(np.sum(turn[1:] * turn[:-1], axis=1) < 0, -1.0, 1.0)
            turn[1:] *= np.cumprod(flips)[:, None]
        return smooth(plan, self.signer.smoothing)

    # ---- the body ----

    def _embody(self, plan: np.ndarray, rng: np.random.Generator) -> Body:
        signer, frames = self.signer, len(plan)
        # 0-2 lean, 3-4 torso roll and yaw, 5-7 head, 8-13 hands' wandering
        wander = drift(rng, frames, np.array([0.985] * 5 + [0.95] * 3 + [0.9] * 6))
        wander *= np.array(
            [0.02, 0.01, 0.03, 0.015, 0.04, 0.05, 0.035, 0.03] + [0.012] * 6, np.float32
        )
        wander[:, :8] *= signer.sway
        wander = smooth(wander, 1.5).astype(np.float32)
        plan = plan.astype(np.float32)
        lean = wander[:, :3]
        # Raised hands lift their shoulders
        lifted = np.clip((0.4 - plan[:, [1, _HAND + 1]]) / 1.2, -0.5, 1)
        lean[:, 1] -= 0.03 * lifted.sum(axis=1)
        torso = _rotation(
            wander[:, 4], np.zeros(frames), wander[:, 3] + 0.05 * (lifted[:, 0] - lifted[:, 1])
        )

        arms = []
        # The dominant arm, then the other one in its mirrored space.
        for start, side, wandering in ((0, 1, wander[:, 8:11]), (_HAND, -1, wander[:, 11:14])):
            hand, flip = plan[:, start : start + _HAND], np.array([side, 1, 1], np.float32)
            turn = hand[:, _TURN] / np.linalg.norm(hand[:, _TURN], axis=1, keepdims=True)
            turn = rotation_matrices(turn)
            shoulder = (lean + side * -CLAVICLE * torso[:, :, 0]) * flip
            offset = np.einsum("tij,tj->ti", turn, hand[:, _CONTACT]) * signer.hand
            wrist = hand[:, _POINT] + lean * flip + wandering - offset
            elbow, wrist = reach(shoulder, wrist, signer.upper_arm, signer.forearm, signer.elbow)
            turn = bend_wrist(turn, (wrist - elbow) / signer.forearm)
            joints = hand_joints(hand[:, _FINGERS], signer.finger_length) * signer.hand
            joints = wrist[:, None] + np.einsum("tij,tkj->tki", turn, joints)
            arms.append(
                np.concatenate([np.stack([shoulder, elbow], axis=1), joints], axis=1) * flip
            )
        side = -1.0 if signer.left_handed else 1.0
        arms = [arm * np.array([side, 1, 1], np.float32) for arm in arms]
        left, right = arms if signer.left_handed else arms[::-1]

        tilt = plan[:, _HEAD] + wander[:, 5:8]
        centre = (
            lean + torso[:, :, 1] * np.float32(-signer.neck) - np.float32(0.12) * torso[:, :, 2]
        )
        centre[:, 0] *= side
        head = _rotation(side * tilt[:, 0], tilt[:, 1], side * tilt[:, 2]) * np.float32(
            signer.face_width
        )
        mesh, moves = face_mesh(signer.face_shape)
        weights = np.concatenate(
            [plan[:, _MOUTH], plan[:, _BROW], self._blinks(frames, rng)], axis=1
        )
        face = combine(weights, moves.transpose(0, 2, 1).reshape(len(moves), -1))
        face = face.reshape(frames, 3, -1) + mesh.T  # (T, 3, 468)
        face = (
            np.stack([combine_frames(head[:, axis], face) for axis in range(3)], axis=2)
            + centre[:, None]
        )

        pose = np.empty((frames, 33, 3), np.float32)
        pose[:, :11] = np.einsum("tij,kj->tki", head, POSE_HEAD) + centre[:, None]
        # Shoulder, elbow, wrist, little finger, index, thumb
        for first, arm in ((11, left), (12, right)):
            pose[:, first] = arm[:, 0]
            pose[:, first + 2] = arm[:, 1]
            pose[:, first + 4] = arm[:, 2]
            pose[:, first + 6] = arm[:, 2 + 17]
            pose[:, first + 8] = 0.7 * arm[:, 2 + 5] + 0.3 * arm[:, 2 + 6]
            pose[:, first + 10] = arm[:, 2 + 2]
        pose[:, 23:] = POSE_LEGS
        return Body(pose, face, np.stack([left[:, 2:], right[:, 2:]], axis=1))

    @staticmethod
    def _blinks(frames: int, rng: np.random.Generator) -> np.ndarray:
        starts = rng.random(frames) < 1 / 70
        return np.minimum(np.convolve(starts, [0.6, 1.0, 0.9, 0.3])[:frames, None], 1).astype(
            np.float32
        )


def _rotation(yaw: np.ndarray, nod: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) of small turns around y (yaw), x (nod) and z (tilt), in that
    order."""
    parts = []
    for axis, angle in ((2, yaw), (1, nod), (3, tilt)):
        quaternions = np.zeros((len(angle), 4), np.float32)
        quaternions[:, 0], quaternions[:, axis] = np.cos(angle / 2), np.sin(angle / 2)
        parts.append(quaternions)
    return rotation_matrices(multiply(parts[2], multiply(parts[1], parts[0])))
