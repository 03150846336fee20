"""Sizes of the models; no torch in here, so that command lines parse fast."""

from dataclasses import dataclass

from errors import UsageError

TIME_STRIDE = 4  # frames a step of the output


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the teacher. Parts: which named landmark subset (data/landmarks.py) each encoder reads, and its width."""

    pose_subset: str = "upper_body"
    face_subset: str = "mouth_brows_eyes"
    left_hand_subset: str = "left_hand"
    right_hand_subset: str = "right_hand"
    pose_width: int = 256
    face_width: int = 128
    hand_width: int = 256
    fusion_width: int = 512
    inception_widths: tuple[int, int] = (768, 1024)
    lstm_hidden: int = 1024
    lstm_layers: int = 2
    dropout: float = 0.3
    head_scale: float = 32.0  # of the cosine classifiers

    def __post_init__(self):
        object.__setattr__(self, "inception_widths", tuple(self.inception_widths))
        for name in ("pose_width", "face_width", "hand_width", "fusion_width", "lstm_hidden", "lstm_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} {getattr(self, name)}: expected 1 or more")
        if len(self.inception_widths) != 2 or min(self.inception_widths) < 8:
            raise UsageError(f"model.inception_widths {list(self.inception_widths)}: expected two widths of 8 or more")
        if not 0 < self.head_scale < float("inf"):
            raise UsageError(f"model.head_scale {self.head_scale}: expected a number above 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout {self.dropout}: expected 0 <= dropout < 1")
