"""Ranges of the augmentation. No torch in here, so that command lines parse fast."""

from dataclasses import dataclass
from typing import ClassVar

from settings import Settings, setting

RANGES = ("speed", "scale", "aspect", "part_scale")  # [low, high] around 1
RANGE_LIMITS = (0.2, 5.0)


@dataclass(frozen=True)
class AugmentationConfig(Settings):
    """What is drawn for each train sentence. Every setting has a value that switches it off.

    Lengths are in shoulder widths, angles in degrees.
    """

    prefix: ClassVar[str] = "augmentation."

    enabled: bool = setting(True, "augment train sentences", group="optimisation", option="augment")
    # Time.
    speed: tuple[float, float] = setting(
        (0.75, 1.3), "speed of signing: 1.3 is 1.3 times as fast; [1, 1] is off"
    )
    frame_drop: float = setting(
        0.1,
        "each frame is dropped with a probability drawn from [0, this]; 0 is off",
        low=0,
        high=0.5,
    )
    frame_cut: float = setting(
        0.0,
        "one run of frames is cut out, a share of the sentence drawn from [0, this]; 0 is off",
        low=0,
        high=0.5,
    )
    time_mask: float = setting(
        0.0,
        "one run of frames is hidden and bridged, a share of the sentence drawn from [0, this]; 0 "
        "is off",
        low=0,
        high=0.5,
    )
    # The whole body.
    noise: float = setting(
        0.01, "standard deviation of jitter, drawn from [0, this]; 0 is off", low=0, high=1
    )
    scale: tuple[float, float] = setting(
        (0.85, 1.15), "scale of the body in x, y and z; [1, 1] is off"
    )
    aspect: tuple[float, float] = setting(
        (0.985, 1.015),
        "scale of x against y, since cameras and croppings differ; [1, 1] is off",
    )
    rotation: float = setting(
        10.0,
        "rotation in the image plane about the shoulders, drawn from [-this, this]; 0 is off",
        low=0,
        high=180,
    )
    shift: float = setting(
        0.1, "shift of x and of y, each drawn from [-this, this]; 0 is off", low=0, high=5
    )
    mirror: float = setting(
        0.0,
        "probability that left and right are exchanged, as for a left-handed signer; 0 is off",
        low=0,
        high=1,
    )
    # Parts of the body.
    part_scale: tuple[float, float] = setting(
        (1.0, 1.0), "scale of the hands about their wrists and of the face; [1, 1] is off"
    )
    part_shift: float = setting(
        0.0,
        "shift of each hand and of the face against the body, x and y each drawn from "
        "[-this, this]; 0 is off",
        low=0,
        high=5,
    )
    # Every signer makes a sign a little differently: in another place, with the hand turned.
    hand_drift: float = setting(
        0.07,
        "standard deviation of the slow drift of each hand, with its arm; 0 is off",
        low=0,
        high=1,
    )
    hand_turn: float = setting(
        14.0,
        "standard deviation of the slow rotation of each hand about its wrist, in space; 0 is off",
        low=0,
        high=90,
    )
    finger_drop: float = setting(
        0.0,
        "probability that a finger is folded onto its base for the sentence; 0 is off",
        low=0,
        high=0.9,
    )
    hand_drop: float = setting(
        0.0,
        "probability that a hand is lost for a run of up to half of the sentence; 0 is off",
        low=0,
        high=0.9,
    )
    # Sentences.
    mix: float = setting(
        0.3,
        "probability that another sentence of the same signer follows, where one is short enough; "
        "0 is off",
        low=0,
        high=1,
    )
    splice: float = setting(
        0.0,
        "probability that a new sentence takes a sentence's place: runs of glosses from sentences "
        "of its signer; needs gloss times (prepare_data.py align); 0 is off",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        for name in RANGES:
            low, high = getattr(self, name)
            object.__setattr__(self, name, (float(low), float(high)))
        super().__post_init__()

    def conflicts(self) -> list[str]:
        lowest, highest = RANGE_LIMITS
        return [
            f"{self.prefix}{name} {list(getattr(self, name))}: expected [low, high] with "
            f"{lowest:g} <= low <= 1 <= high <= {highest:g}"
            for name in RANGES
            if not lowest <= getattr(self, name)[0] <= 1 <= getattr(self, name)[1] <= highest
        ]
