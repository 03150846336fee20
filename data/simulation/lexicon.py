"""The simulated signer's lexicon: each gloss gets a sign, drawn from a phonology of handshapes,
places and movements.

A sign has the parameters of sign phonology (Stokoe 1960; Brentari 1998): one or two hands, a
handshape of each hand, which may change once, a place of articulation, a palm orientation, a
movement, and an action of mouth, brows and head. The draw depends on (seed, gloss) only. Unmarked
handshapes are drawn more often than marked ones, so a vocabulary has minimal pairs. Two glosses of
one vocabulary never share all manual parameters.

Space is that of the signer, in shoulder widths: x to the signer's left, y down, z away from the
camera, origin in the middle of the shoulders. All numbers are for a right-handed signer; a
left-handed one is mirrored.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from data.keyed_random import generator

# Fingers: flexion of the knuckle and of the middle joint, in radians (the last joint follows the
# middle one). s straight, f fist, b bent at the knuckle, k half bent at the knuckle, h hooked,
# c curved, o round, e folded.
_FINGER = {
    "s": (0.02, 0.06),
    "f": (1.35, 1.7),
    "b": (1.3, 0.1),
    "h": (0.1, 1.5),
    "c": (0.5, 0.75),
    "o": (0.85, 0.95),
    "k": (0.95, 0.2),
    "e": (0.75, 1.75),
}
# Thumb: angle from the hand's axis towards the thumb's side, angle out of the palm, bend of each
# further joint, in radians.
_THUMB = {
    "out": (1.0, 0.15, 0.05),
    "side": (0.35, 0.15, 0.15),
    "across": (0.05, 0.75, 0.55),
    "opposed": (0.35, 0.9, 0.25),
}
# name: fingers from index to little finger, spread in radians, thumb, weight of the random draw
_HANDSHAPES = {
    "B": ("ssss", 0.0, "across", 6),
    "flat": ("ssss", 0.02, "side", 6),
    "5": ("ssss", 0.22, "out", 6),
    "4": ("ssss", 0.18, "across", 1),
    "claw": ("cccc", 0.2, "out", 3),
    "C": ("cccc", 0.0, "opposed", 4),
    "O": ("oooo", 0.0, "opposed", 4),
    "flat_O": ("kkkk", 0.0, "opposed", 3),
    "bent_B": ("bbbb", 0.0, "side", 3),
    "A": ("ffff", 0.0, "side", 5),
    "S": ("ffff", 0.0, "across", 5),
    "thumb": ("ffff", 0.0, "out", 3),
    "E": ("eeee", 0.0, "across", 1),
    "1": ("sfff", 0.0, "across", 7),
    "X": ("hfff", 0.0, "across", 2),
    "L": ("sfff", 0.0, "out", 3),
    "bent_L": ("cfff", 0.0, "out", 1),
    "G": ("kfff", 0.0, "opposed", 2),
    "D": ("sooo", 0.0, "opposed", 1),
    "V": ("ssff", 0.2, "across", 4),
    "U": ("ssff", 0.0, "across", 3),
    "bent_V": ("hhff", 0.2, "across", 2),
    "R": ("ssff", -0.12, "across", 1),
    "3": ("ssff", 0.2, "out", 2),
    "K": ("skff", 0.1, "side", 1),
    "W": ("sssf", 0.18, "across", 2),
    "F": ("osss", 0.15, "opposed", 3),
    "8": ("soss", 0.12, "opposed", 1),
    "I": ("fffs", 0.0, "across", 2),
    "Y": ("fffs", 0.1, "out", 2),
    "ILY": ("sffs", 0.1, "out", 1),
}
HAND_ANGLES = 12  # joint angles: four knuckles, four middle joints, spread, three of the thumb


def _angles(fingers: str, spread: float, thumb: str) -> np.ndarray:
    bends = np.array([_FINGER[finger] for finger in fingers])
    return np.concatenate([bends[:, 0], bends[:, 1], [spread], _THUMB[thumb]]).astype(np.float32)


HANDSHAPES = {name: _angles(*shape[:3]) for name, shape in _HANDSHAPES.items()}
RELAXED_HAND = _angles("cccc", 0.05, "side")
# A passive base hand has only these handshapes (Battison 1978)
_UNMARKED = ("B", "flat", "5", "A", "S", "1", "C", "O")

# The place of the hand's contact point. The contact "tip" is near the fingertips, "palm" in the
# middle of the hand.
SIGN_PLACES = {
    "forehead": ((-0.07, -0.80, -0.36), "tip"),
    "temple": ((-0.25, -0.70, -0.22), "tip"),
    "nose": ((-0.01, -0.56, -0.42), "tip"),
    "cheek": ((-0.19, -0.50, -0.30), "tip"),
    "mouth": ((-0.01, -0.43, -0.40), "tip"),
    "chin": ((-0.01, -0.32, -0.37), "tip"),
    "ear": ((-0.28, -0.58, -0.12), "tip"),
    "neck": ((-0.04, -0.12, -0.25), "tip"),
    "shoulder": ((-0.42, 0.0, -0.22), "tip"),
    "far_shoulder": ((0.36, 0.05, -0.26), "palm"),
    "chest": ((-0.04, 0.32, -0.32), "palm"),
    "belly": ((-0.08, 0.68, -0.38), "palm"),
    "centre": ((-0.13, 0.36, -0.75), "palm"),
    "side": ((-0.52, 0.28, -0.70), "palm"),
    "high": ((-0.46, -0.32, -0.62), "palm"),
    "low": ((-0.28, 0.66, -0.68), "palm"),
}
_HEAD_PLACES = ("forehead", "temple", "nose", "cheek", "mouth", "chin", "ear", "neck")
_TRUNK_PLACES = ("shoulder", "far_shoulder", "chest", "belly")
NEUTRAL_PLACES = ("centre", "side", "high", "low")
_PLACE_WEIGHTS = {
    "centre": 6,
    "side": 4,
    "high": 3,
    "low": 2,
    "chest": 3,
    "chin": 2,
    "mouth": 2,
    "forehead": 2,
}
BASE_PLACE = (-0.14, 0.46, -0.66)  # of a passive base hand, in its mirrored space
ON_BASE = ((-0.02, 0.32, -0.72), "palm")  # of the hand that acts on the base hand

# Orientation of the right hand: the direction of the fingers and the direction of the palm.
_ORIENTATIONS = {
    "up_out": ((0.05, -1, -0.1), (0, 0, -1)),
    "up_in": ((0.2, -1, 0), (0, 0, 1)),
    "up_across": ((0, -1, -0.2), (1, 0, 0)),
    "slant_out": ((0.6, -0.85, 0), (0, 0, -1)),
    "slant_in": ((0.75, -0.65, -0.1), (0, 0, 1)),
    "front_down": ((0.2, -0.25, -1), (0, 1, -0.2)),
    "front_across": ((0.15, -0.3, -1), (1, 0, 0)),
    "front_up": ((0.25, -0.1, -1), (0, -1, 0)),
    "across_in": ((1, -0.2, -0.1), (0, 0, 1)),
    "across_down": ((0.9, -0.05, -0.5), (0, 1, 0)),
    "down_in": ((0.25, 1, -0.35), (0, 0, 1)),
}
_HEAD_ORIENTATIONS = ("up_out", "up_in", "up_across", "slant_out", "slant_in")
_TRUNK_ORIENTATIONS = ("slant_in", "across_in", "across_down", "up_across", "down_in")
_BASE_ORIENTATIONS = ("front_up", "front_across", "across_in", "across_down", "front_down")


def quaternion(fingers: tuple[float, ...], palm: tuple[float, ...]) -> np.ndarray:
    """Unit quaternion (w, x, y, z) of a right hand from the directions of its fingers and palm."""
    y = np.array(fingers, dtype=np.float64) / np.linalg.norm(fingers)
    n = np.array(palm, dtype=np.float64)
    n = n - (n @ y) * y
    n /= np.linalg.norm(n)
    # Columns: towards the thumb, along the fingers, out of the palm
    m = np.stack([np.cross(y, n), y, n], axis=1)
    # Each of w, x, y, z can be too small to divide by: take the largest (Shepperd 1978).
    squares = np.array([1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + 2 * m[0, 0] - np.trace(m)])
    squares = np.append(squares, [1 + 2 * m[1, 1] - np.trace(m), 1 + 2 * m[2, 2] - np.trace(m)])
    a, b, c = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    p, q, r = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    rows = (
        (squares[0], a, b, c),
        (a, squares[1], p, q),
        (b, p, squares[2], r),
        (c, q, r, squares[3]),
    )
    row = np.array(rows[int(np.argmax(squares))])
    unit: np.ndarray = (row / np.linalg.norm(row)).astype(np.float32)
    return unit


ORIENTATIONS = {name: quaternion(*directions) for name, directions in _ORIENTATIONS.items()}


def ease(u: np.ndarray) -> np.ndarray:
    """Minimum-jerk progress from 0 to 1 (Flash and Hogan 1985)."""
    progress: np.ndarray = u * u * u * (10 - 15 * u + 6 * u * u)
    return progress


@dataclass(frozen=True)
class Movement:
    """What a hand does during a sign.

    path: phase (N,) in turns → offsets (N, 3), for an amplitude of 1. frames: duration of one turn
    at 25 frames/s. cyclic: the movement makes `Sign.turns` turns; otherwise one, with minimum jerk.
    twist: rotation of the forearm; nod: bending of the wrist; wiggle: of the fingers, one after the
    other; all in radians. weight: of the random draw.
    """

    path: Callable[[np.ndarray], np.ndarray]
    frames: float
    cyclic: bool = False
    twist: float = 0.0
    nod: float = 0.0
    wiggle: float = 0.0
    weight: float = 1.0


def _still(phase: np.ndarray) -> np.ndarray:
    return np.zeros((len(phase), 3))


def _line(*direction: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda phase: phase[:, None] * np.array(direction)


def _arc(along: tuple[float, ...], bulge: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda phase: (
        phase[:, None] * np.array(along) + np.sin(np.pi * phase)[:, None] * np.array(bulge)
    )


def _circle(
    first: tuple[float, ...], second: tuple[float, ...]
) -> Callable[[np.ndarray], np.ndarray]:
    across, along = np.array(first), np.array(second)

    def path(phase: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * phase[:, None]
        offsets: np.ndarray = (np.cos(angle) - 1) * across + np.sin(angle) * along
        return 0.4 * offsets

    return path


def _there_and_back(*direction: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda phase: (np.sin(np.pi * phase) ** 2)[:, None] * np.array(direction)


def _zigzag(phase: np.ndarray) -> np.ndarray:
    swing = 0.3 * np.sin(5 * np.pi * phase)
    return np.stack([-0.2 * phase + swing, 0.9 * phase, -0.1 * phase], axis=1)


MOVEMENTS = {
    "hold": Movement(_still, 5.0, weight=2),
    "forward": Movement(_line(0, 0.1, -1), 6.0, weight=2),
    "down": Movement(_line(0, 1, 0), 6.0, weight=2),
    "up": Movement(_line(0, -1, 0), 6.0),
    "outward": Movement(_line(-1, 0, -0.1), 6.0, weight=2),
    "inward": Movement(_line(1, 0.1, 0), 6.0),
    "slant": Movement(_line(-0.7, 0.7, -0.2), 6.0),
    "arc_side": Movement(_arc((-1, 0, 0), (0, -0.5, -0.1)), 7.0, weight=2),
    "arc_forward": Movement(_arc((0, 0.2, -0.9), (0, -0.5, 0)), 7.0),
    "circle_front": Movement(_circle((1, 0, 0), (0, 1, 0)), 6.0, cyclic=True, weight=2),
    "circle_flat": Movement(_circle((1, 0, 0), (0, 0, 1)), 6.0, cyclic=True),
    "circle_wheel": Movement(_circle((0, 1, 0), (0, 0, 1)), 6.0, cyclic=True),
    "zigzag": Movement(_zigzag, 9.0),
    "tap": Movement(_there_and_back(-0.1, -0.1, -0.4), 4.0, cyclic=True, weight=3),
    "shake": Movement(_there_and_back(-0.5, 0, 0), 4.0, cyclic=True),
    "beat": Movement(_there_and_back(0, -0.5, -0.1), 4.0, cyclic=True),
    "twist": Movement(_still, 4.5, cyclic=True, twist=0.8, weight=2),
    "nod": Movement(_still, 4.0, cyclic=True, nod=0.6, weight=2),
    "wiggle": Movement(_line(-0.3, 0.1, -0.1), 8.0, wiggle=0.45),
}

# Mouth: opening, width, rounding. Brows: raising, knitting. Head: turn, nod and tilt in radians, in
# the middle of the sign.
MOUTHS = {
    "closed": (0.0, 0.0, 0.0),
    "a": (1.0, 0.1, 0.0),
    "e": (0.45, 0.6, 0.0),
    "i": (0.2, 1.0, 0.0),
    "o": (0.55, -0.2, 0.7),
    "u": (0.2, -0.4, 1.0),
    "f": (0.15, 0.2, 0.2),
}
BROWS = {"neutral": (0.0, 0.0), "raised": (1.0, 0.0), "knit": (-0.2, 1.0)}
HEAD_MOVEMENTS = {
    "still": (0.0, 0.0, 0.0),
    "nod": (0.0, 0.14, 0.0),
    "tilt": (0.0, 0.0, 0.12),
    "turn": (0.18, 0.0, 0.04),
}


@dataclass(frozen=True)
class Sign:
    """One sign. The fields up to `base_orientation` are its manual parameters."""

    hands: str  # "one", "symmetric", "alternating", or "base": the other hand is a passive base
    handshape: str
    end_handshape: str
    place: str  # a key of SIGN_PLACES; "base" where the hand acts on the other one
    orientation: str
    movement: str
    turns: int
    base_handshape: str
    base_orientation: str
    size: float = 1.0  # of the movement
    mouth: tuple[str, str] = ("closed", "closed")
    brow: str = "neutral"
    head: str = "still"

    @property
    def manual(self) -> tuple[str | int, ...]:
        """The manual parameters. Two glosses of a lexicon differ in at least one of them."""
        fields = (
            self.hands,
            self.handshape,
            self.end_handshape,
            self.place,
            self.orientation,
            self.movement,
        )
        return (*fields, self.turns, self.base_handshape, self.base_orientation)


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """A random key, with a probability in proportion to its weight."""
    total = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(total, rng.random() * total[-1], side="right"))]


def _orientations(place: str) -> tuple[str, ...]:
    if place in _HEAD_PLACES:
        return _HEAD_ORIENTATIONS
    return _TRUNK_ORIENTATIONS if place in _TRUNK_PLACES else tuple(_ORIENTATIONS)


def draw_sign(rng: np.random.Generator) -> Sign:
    """Draw one random sign from the phonology."""
    shapes = {name: shape[3] for name, shape in _HANDSHAPES.items()}
    hands = _pick(rng, {"one": 50, "symmetric": 22, "alternating": 8, "base": 20})
    handshape = _pick(rng, shapes)
    end_handshape = _pick(rng, shapes) if rng.random() < 0.15 else handshape
    place = _pick(rng, {name: _PLACE_WEIGHTS.get(name, 1) for name in SIGN_PLACES})
    if hands == "base":
        place = "base"
    elif hands == "alternating" and place in ("nose", "mouth", "chin", "neck", "far_shoulder"):
        place = "centre"  # elsewhere the hands would cross each other
    orientation = str(rng.choice(_orientations(place)))
    moves = {name: m.weight for name, m in MOVEMENTS.items() if m.cyclic or hands != "alternating"}
    movement = _pick(rng, moves)
    base = (
        (str(rng.choice(_UNMARKED)), str(rng.choice(_BASE_ORIENTATIONS)))
        if hands == "base"
        else ("", "")
    )
    visemes = rng.choice(list(MOUTHS), 2)
    return Sign(
        hands=hands,
        handshape=handshape,
        end_handshape=end_handshape,
        place=place,
        orientation=orientation,
        movement=movement,
        turns=int(rng.choice((1, 2, 2, 3))) if MOVEMENTS[movement].cyclic else 1,
        base_handshape=base[0],
        base_orientation=base[1],
        size=float(rng.uniform(0.8, 1.25)),
        mouth=(str(visemes[0]), str(visemes[1])) if rng.random() < 0.8 else ("closed", "closed"),
        brow=_pick(rng, {"neutral": 75, "raised": 12, "knit": 13}),
        head=_pick(rng, {"still": 70, "nod": 12, "tilt": 9, "turn": 9}),
    )


def build_lexicon(glosses: Iterable[str], seed: int) -> dict[str, Sign]:
    """A sign for each gloss, drawn from (seed, gloss) in the sorted order of the glosses. A sign
    whose manual parameters another gloss already has is drawn again."""
    lexicon: dict[str, Sign] = {}
    used: set[tuple[str | int, ...]] = set()
    for gloss in sorted(set(glosses)):
        attempt = 0
        while (sign := draw_sign(generator(seed, "lexicon", gloss, attempt))).manual in used:
            attempt += 1
        used.add(sign.manual)
        lexicon[gloss] = sign
    return lexicon


def vary_sign(sign: Sign, rng: np.random.Generator) -> Sign:
    """A signer's own form of a sign: another handshape or another orientation."""
    if rng.random() < 0.5:
        shape = _pick(
            rng, {name: row[3] for name, row in _HANDSHAPES.items() if name != sign.handshape}
        )
        return replace(sign, handshape=shape, end_handshape=shape)
    return replace(sign, orientation=str(rng.choice(_orientations(sign.place))))
