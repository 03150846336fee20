"""How the simulated signer moves: a gloss sentence becomes planned postures, one per frame.

Each sign is a stroke between two transitions. Strokes and transitions get their times, are sampled
once per frame, and are smoothed with a Gaussian kernel, so that quick signs undershoot and take on
some of the shape of their neighbours. During a one-handed sign, the other hand stays where it was
or sinks. Every occurrence of a sign is a little different, and every signer has habits. The
randomness of a sentence depends on (seed, sentence id), that of a habit on (seed, signer, gloss).

Space and units are those of data/simulation/lexicon.py. Motion is planned for a right-handed
signer; data/simulation/embodiment.py mirrors it. The other hand is planned as a right hand in a
mirrored space of its own.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from data.keyed_random import generator
from data.simulation.body import CONTACTS, REST_POSES, Signer, multiply
from data.simulation.embodiment import Body, embody
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
    RELAXED_HAND,
    SIGN_PLACES,
    Sign,
    ease,
    vary_sign,
)
from data.simulation.posture import (
    BROW,
    COLUMN_COUNT,
    CONTACT,
    FINGER_ANGLES,
    HAND,
    HEAD,
    MIRROR,
    MOUTH,
    OTHER_HAND,
    POINT,
    TURN,
)
from data.simulation.time_series import smooth

_AMPLITUDE = 0.4  # of a movement of size 1, in shoulder widths


@dataclass(frozen=True)
class Variation:
    """How a signer's habit, or one occurrence of a sign, differs from the lexicon's form.

    point: offset of the place, in shoulder widths. turn: a small rotation, as a quaternion.
    fingers: offsets of the joint angles, in radians. size, mouth: factors.
    """

    point: np.ndarray
    turn: np.ndarray
    fingers: np.ndarray
    size: float
    mouth: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, point: float, turn: float, fingers: float, size: float
    ) -> Self:
        """A random variation; the numbers are standard deviations."""
        rotation = np.concatenate([[1.0], rng.normal(0, turn / 2, 3)])
        return cls(
            rng.normal(0, point, 3),
            rotation / np.linalg.norm(rotation),
            rng.normal(0, fingers, HAND_ANGLES) * np.repeat([1.0, 0.3, 1.0], [8, 1, 3]),
            float(np.exp(rng.normal(0, size))),
            float(np.exp(rng.normal(0, 0.3))),
        )


@dataclass(frozen=True)
class SignToken:
    """One occurrence of a sign in a sentence.

    habit: the signer's variation of the gloss. variation: that of this occurrence. head_left: a
    head movement goes to the left.
    """

    sign: Sign
    habit: Variation
    variation: Variation
    head_left: bool


class Performer:
    """Signs sentences as one signer, with the signs of a lexicon."""

    def __init__(self, signer: Signer, lexicon: dict[str, Sign], seed: int):
        self.signer, self.lexicon, self.seed = signer, lexicon, seed
        self._lexicon_forms = {sign.manual for sign in lexicon.values()}
        self._habits: dict[str, tuple[Sign, Variation]] = {}

    def perform(self, sentence: str, glosses: tuple[str, ...], frames: int | None = None) -> Body:
        """The body while it signs a sentence.

        sentence: its id, which the randomness depends on. frames: exact number of frames; None: the
        signer's own pace decides.
        """
        rng = generator(self.seed, "motion", sentence)
        tokens = [self._token(gloss, rng) for gloss in glosses]
        rest = self._rest(rng)
        others = self._other_hand(tokens, rest, rng)
        # Postures at the start and the end of every stroke: (n + 2, 2, columns). The sentence
        # begins and ends with the hands at rest.
        strokes = [
            self._stroke(token, other, np.array([0.0, 1.0]))
            for token, other in zip(tokens, others, strict=True)
        ]
        edges = np.stack([np.stack([rest, rest]), *strokes, np.stack([rest, rest])])
        bounds = self._timing(tokens, edges, rng)
        frames = frames or max(1, round(bounds[-1]))
        bounds *= frames / bounds[-1]

        time = np.arange(frames) + 0.5
        segment = np.minimum(np.searchsorted(bounds[1:], time, side="right"), len(bounds) - 2)
        phase = (time - bounds[segment]) / (bounds[segment + 1] - bounds[segment])
        plan = np.empty((frames, COLUMN_COUNT))
        moving = segment % 2 == 1  # odd segments are transitions
        plan[moving] = _transitions(edges, segment[moving] // 2, phase[moving], rng)
        for index in range(len(tokens) + 2):
            here = segment == 2 * index
            if not here.any():
                continue
            if 0 < index <= len(tokens):
                progress = np.clip((phase[here] - 0.08) / 0.84, 0, 1)
                plan[here] = self._stroke(tokens[index - 1], others[index - 1], progress)
            else:
                plan[here] = rest
        return embody(self.signer, self._smoothed(plan), rng)

    def _habit(self, gloss: str) -> tuple[Sign, Variation]:
        """This signer's form of a gloss: for one gloss in ten, handshape or orientation differ from
        the lexicon's."""
        if gloss not in self._habits:
            rng = generator(self.seed, "habit", self.signer.name, gloss)
            sign = self.lexicon[gloss]
            if rng.random() < 0.1:
                other = vary_sign(sign, rng)
                sign = sign if other.manual in self._lexicon_forms else other
            self._habits[gloss] = sign, Variation.draw(rng, 0.11, 0.35, 0.22, 0.25)
        return self._habits[gloss]

    def _token(self, gloss: str, rng: np.random.Generator) -> SignToken:
        sign, habit = self._habit(gloss)
        variation = Variation.draw(rng, 0.07, 0.17, 0.11, 0.22)
        locus = rng.normal(0, (0.12, 0.05, 0.05))
        if sign.place in NEUTRAL_PLACES:
            # The referent of a sign decides where in space it is made
            variation = replace(variation, point=variation.point + locus)
        if rng.random() < 0.15:
            variation = replace(variation, mouth=0.0)  # not every sign has a mouthing
        if sign.turns > 1 and rng.random() < 0.15:
            sign = replace(sign, turns=sign.turns - 1)
        # Weak drop: a two-handed sign made with one hand
        if sign.hands == "symmetric" and rng.random() < 0.05:
            sign = replace(sign, hands="one")
        return SignToken(sign, habit, variation, bool(rng.random() < 0.5))

    def _rest(self, rng: np.random.Generator) -> np.ndarray:
        """The posture at rest: (columns,)."""
        point, orientation = REST_POSES[self.signer.rest]
        posture = np.zeros(COLUMN_COUNT)
        for start in (0, HAND):
            hand = posture[start : start + HAND]
            hand[POINT] = np.array(point) + rng.normal(0, 0.05, 3)
            hand[CONTACT] = CONTACTS["palm"]
            hand[TURN] = ORIENTATIONS[orientation]
            hand[FINGER_ANGLES] = RELAXED_HAND + rng.normal(0, 0.08, HAND_ANGLES)
        return posture

    def _other_hand(
        self, tokens: list[SignToken], rest: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray | None]:
        """The other hand's posture (HAND,) during each one-handed sign; None where it takes part in
        the sign."""
        state = rest[OTHER_HAND].copy()
        others: list[np.ndarray | None] = []
        for token in tokens:
            if token.sign.hands != "one":
                others.append(None)
                state = self._stroke(token, None, np.array([1.0]))[0][OTHER_HAND].copy()
                continue
            if rng.random() > self.signer.perseveration:
                state = rest[OTHER_HAND].copy()
            state[1] += 0.05  # a held hand sinks a little
            others.append(state.copy())
        return others

    def _timing(
        self, tokens: list[SignToken], edges: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Boundaries of the segments in frames: rest, then a transition and a stroke for each sign,
        a transition, rest."""
        gap = edges[1:, 0] - edges[:-1, 1]
        distance = np.linalg.norm(gap[:, POINT], axis=1)
        transitions = (2.4 + 2.6 * distance) * np.exp(rng.normal(0, 0.15, len(gap)))
        strokes = []
        for token in tokens:
            movement = MOVEMENTS[token.sign.movement]
            turns = 1 + 0.6 * (token.sign.turns - 1)
            strokes.append(movement.frames * turns * np.exp(rng.normal(0, 0.25)))
        rests = rng.uniform(0.5, 5.0, 2)
        durations = np.empty(2 * len(tokens) + 3)
        durations[0], durations[-1] = rests
        durations[1::2], durations[2:-1:2] = transitions, strokes
        return np.concatenate([[0.0], np.cumsum(durations)]) / self.signer.speed

    def _stroke(
        self, token: SignToken, other: np.ndarray | None, progress: np.ndarray
    ) -> np.ndarray:
        """Postures (N, columns) at a progress (N,) from 0 to 1 through a sign.

        other: the other hand's posture (HAND,) if it does not take part.
        """
        sign, habit, variation = token.sign, token.habit, token.variation
        rows = np.empty((len(progress), COLUMN_COUNT))
        self._stroke_hands(rows, token, progress)
        if other is not None:
            rows[:, OTHER_HAND] = other
        elif sign.hands == "base":
            rows[:, OTHER_HAND] = np.concatenate(
                [
                    np.array(BASE_PLACE) + habit.point * MIRROR + variation.point * MIRROR,
                    CONTACTS["palm"],
                    multiply(variation.turn, ORIENTATIONS[sign.base_orientation]),
                    HANDSHAPES[sign.base_handshape] + habit.fingers - variation.fingers,
                ]
            )
        visemes = np.array([MOUTHS[name] for name in sign.mouth])
        bell = np.sin(np.pi * np.clip(progress, 0.1, 0.9))[:, None]
        strength = np.clip(self.signer.mouth * habit.mouth * variation.mouth, 0, 1.4)
        rows[:, MOUTH] = (
            strength * bell * (visemes[0] + ease(progress)[:, None] * (visemes[1] - visemes[0]))
        )
        rows[:, BROW] = np.array(BROWS[sign.brow]) * (0.7 * habit.mouth)
        swing = np.sin(2 * np.pi * progress) if sign.head == "turn" else np.sin(np.pi * progress)
        rows[:, HEAD] = (
            swing[:, None]
            * np.array(HEAD_MOVEMENTS[sign.head])
            * habit.size
            * (1 if token.head_left else -1)
        )
        rows[:, HEAD][:, 1] = np.abs(rows[:, HEAD][:, 1])  # a nod goes down
        return rows

    def _stroke_hands(self, rows: np.ndarray, token: SignToken, progress: np.ndarray) -> None:
        """Write the columns of the hands that move in a sign into `rows` (N, columns)."""
        sign, habit, variation = token.sign, token.habit, token.variation
        movement = MOVEMENTS[sign.movement]
        place, contact = ON_BASE if sign.place == "base" else SIGN_PLACES[sign.place]
        phase = progress * sign.turns if movement.cyclic else ease(progress)
        size = _AMPLITUDE * sign.size * habit.size * variation.size * self.signer.amplitude
        precision = 0.5 if contact == "tip" else 1.0  # places on the head are hit more precisely
        origin = np.array(place) + precision * (habit.point + variation.point + self.signer.offset)
        turn = multiply(multiply(variation.turn, habit.turn), ORIENTATIONS[sign.orientation])
        first, last = HANDSHAPES[sign.handshape], HANDSHAPES[sign.end_handshape]
        fingers = first + ease(progress)[:, None] * (last - first)
        fingers = fingers + habit.fingers + variation.fingers
        # How far the phase of each moving hand is ahead, in turns
        shifts = {"symmetric": (0.0, 0.0), "alternating": (0.0, 0.5)}.get(sign.hands, (0.0,))
        for start, shift in zip((0, HAND), shifts, strict=False):
            hand = rows[:, start : start + HAND]
            shifted = phase + shift
            hand[:, POINT] = origin + size * movement.path(shifted)
            if len(shifts) == 2:
                hand[:, 0] = np.minimum(hand[:, 0], -0.16)  # two hands do not cross each other
            hand[:, CONTACT] = CONTACTS[contact]
            hand[:, TURN] = turn
            swing = np.sin(2 * np.pi * shifted)[:, None]
            # Rotation around the forearm, and bending of the wrist
            for axis, angle in ((2, movement.twist), (1, movement.nod)):
                if angle:
                    small = np.zeros((len(progress), 4))
                    small[:, :1] = np.cos(angle * swing / 2)
                    small[:, axis : axis + 1] = np.sin(angle * swing / 2)
                    hand[:, TURN] = multiply(hand[:, TURN], small)
            hand[:, FINGER_ANGLES] = fingers
            if movement.wiggle:
                wave = np.sin(2 * np.pi * (3 * progress[:, None] + np.arange(4) / 4))
                hand[:, 10:14] += movement.wiggle * (wave + 0.6)

    def _smoothed(self, plan: np.ndarray) -> np.ndarray:
        """The plan (T, columns) with the signer's smoothing between neighbouring signs."""
        for start in (TURN.start, HAND + TURN.start):
            turn = plan[:, start : start + 4]
            # q and -q are the same rotation: neighbouring frames get the same sign
            flips = np.where(np.sum(turn[1:] * turn[:-1], axis=1) < 0, -1.0, 1.0)
            turn[1:] *= np.cumprod(flips)[:, None]
        return smooth(plan, self.signer.smoothing)


def _transitions(
    edges: np.ndarray, index: np.ndarray, phase: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Postures (N, columns) between two strokes.

    edges (n + 2, 2, columns): start and end of each stroke. index (N,): the stroke before. phase
    (N,): from 0 to 1 through the transition.
    """
    before, after = edges[index, 1], edges[index + 1, 0]
    weight = np.repeat(ease(phase)[:, None], COLUMN_COUNT, axis=1)
    for start in (0, HAND):
        fingers = slice(start + FINGER_ANGLES.start, start + HAND)
        turn = slice(start + TURN.start, start + TURN.stop)
        # The fingers take their shape before the hand arrives
        weight[:, fingers] = ease(np.minimum(1, 1.35 * phase))[:, None]
        # q and -q are the same rotation: take the shorter way
        opposite = np.sum(before[:, turn] * after[:, turn], axis=1) < 0
        after[opposite, turn] *= -1
    rows: np.ndarray = before + weight * (after - before)
    # Hands do not move in straight lines: they bow towards the viewer, and up or down
    bow = np.sin(np.pi * ease(phase)) * np.linalg.norm((after - before)[:, POINT], axis=1)
    bend = rng.normal(0, 0.06, len(edges))
    rows[:, 1] += bow * bend[index]
    rows[:, 2] -= 0.08 * bow
    return rows
