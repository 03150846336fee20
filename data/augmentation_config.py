"""Ranges of the augmentation; no torch in here, so that command lines parse fast."""

from dataclasses import dataclass

from errors import UsageError


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of what is drawn for each sentence; each has an off value. Lengths are in shoulder widths."""

    enabled: bool = True
    speed: tuple[float, float] = (0.75, 1.3)  # 1.3: signed 1.3 times as fast; (1, 1) is off
    frame_drop: float = 0.1  # each frame is dropped with a probability drawn from [0, this]; 0 is off
    noise: float = 0.01  # standard deviation of jitter is drawn from [0, this]; 0 is off
    scale: tuple[float, float] = (0.85, 1.15)  # of the features, x and y apart by a tenth of the range; (1, 1) is off
    rotation: float = 10.0  # degrees in the image plane about the shoulders, drawn from [-this, this]; 0 is off
    shift: float = 0.1  # drawn from [-this, this] for x and y apart; 0 is off

    def __post_init__(self):
        for name in ("speed", "scale"):
            low, high = getattr(self, name)
            if not 0.2 <= low <= 1 <= high <= 5:
                raise UsageError(
                    f"augmentation.{name} {[low, high]}: expected [low, high] with 0.2 <= low <= 1 <= high <= 5"
                )
            object.__setattr__(self, name, (float(low), float(high)))
        limits = {"frame_drop": 0.5, "noise": 1.0, "rotation": 180.0, "shift": 5.0}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise UsageError(f"augmentation.{name} {getattr(self, name)}: expected 0 to {limit}")
