"""Ranges of the augmentation; no torch in here, so that command lines parse fast."""

from dataclasses import dataclass

from errors import UsageError

_RANGES = ("speed", "scale", "aspect", "part_scale")  # [low, high] about 1
_LIMITS = {  # the highest value of each other setting
    "frame_drop": 0.5,
    "frame_cut": 0.5,
    "time_mask": 0.5,
    "noise": 1.0,
    "rotation": 180.0,
    "shift": 5.0,
    "part_shift": 5.0,
    "hand_drift": 1.0,
    "hand_turn": 90.0,
    "finger_drop": 0.9,
    "hand_drop": 0.9,
    "mirror": 1.0,
    "mix": 1.0,
}


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of what is drawn for each sentence; each has an off value. Lengths are in shoulder
    widths."""

    enabled: bool = True
    # Time.
    speed: tuple[float, float] = (0.75, 1.3)  # 1.3: signed 1.3 times as fast; (1, 1) is off
    # Each frame is dropped with a probability drawn from [0, this]; 0 is off
    frame_drop: float = 0.1
    # One run of frames is cut out, a share of the sentence drawn from [0, this]; 0 is off
    frame_cut: float = 0.0
    # One run of frames is hidden and bridged, a share drawn from [0, this]; 0 is off
    time_mask: float = 0.0
    # The whole body.
    noise: float = 0.01  # standard deviation of jitter is drawn from [0, this]; 0 is off
    scale: tuple[float, float] = (0.85, 1.15)  # of all coordinates; (1, 1) is off
    # Of x against y: cameras and croppings differ; (1, 1) is off
    aspect: tuple[float, float] = (0.985, 1.015)
    # Degrees in the image plane about the shoulders, drawn from [-this, this]; 0 is off
    rotation: float = 10.0
    shift: float = 0.1  # drawn from [-this, this] for x and y apart; 0 is off
    # Probability that left and right are exchanged: a left-handed signer; 0 is off
    mirror: float = 0.0
    # Its parts.
    # Of hands about their wrists, the face about its root; (1, 1) is off
    part_scale: tuple[float, float] = (1.0, 1.0)
    # Of each hand and the face against the body, from [-this, this] for x and y; 0 is off
    part_shift: float = 0.0
    # Every signer has a form of a sign of their own: a little off its place, the hand turned a
    # little.
    hand_drift: float = 0.07  # standard deviation of each hand's slow drift, with its arm; 0 is off
    hand_turn: float = (
        # Degrees, standard deviation of each hand's slow turning about its wrist, in space; 0 is
        # off
        14.0
    )
    # Probability that a finger is folded onto its base for the sentence; 0 is off
    finger_drop: float = 0.0
    # Probability that a hand is lost for a run of up to half of the sentence; 0 is off
    hand_drop: float = 0.0
    # Sentences.
    mix: float = (
        # Probability that another sentence of the same signer follows, where one is short enough; 0
        # is off
        0.3
    )

    def __post_init__(self):
        for name in _RANGES:
            low, high = getattr(self, name)
            if not 0.2 <= low <= 1 <= high <= 5:
                raise UsageError(
                    f"augmentation.{name} {[low, high]}: expected [low, high] with 0.2 <= low <= 1 <= high <= 5"
                )
            object.__setattr__(self, name, (float(low), float(high)))
        for name, limit in _LIMITS.items():
            if not 0 <= getattr(self, name) <= limit:
                raise UsageError(
                    f"augmentation.{name} {getattr(self, name)}: expected 0 to {limit}"
                )
