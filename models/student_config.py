"""Sizes of the student; no torch in here, so that command lines parse fast."""

from dataclasses import dataclass

from data.ctc_lengths import TIME_STRIDE
from errors import UsageError
from models.config import check_conformer

assert TIME_STRIDE == 4, "the student halves the frame rate twice"


@dataclass(frozen=True)
class StudentModelConfig:
    """Sizes of the student. Parts: which named landmark subset (data/landmarks.py) each encoder
    reads, and its width.

    widths: channels of the convolutions at the full, half and quarter frame rate. causal: for
    streaming, an output step waits for a few frames only (`Student.lookahead`), and features are
    normalised by what was seen so far.
    """

    pose_subset: str = "upper_body"
    face_subset: str = "mouth_brows_eyes"
    left_hand_subset: str = "left_hand"
    right_hand_subset: str = "right_hand"
    pose_width: int = 96
    face_width: int = 48
    hand_width: int = 128
    widths: tuple[int, int, int] = (192, 256, 384)
    expansion: int = 2  # of the channels inside a block
    conformer_width: int = 256
    conformer_blocks: int = 1
    lstm_hidden: int = 256  # of the causal student, which has an LSTM in place of the conformer
    lstm_layers: int = 1
    dropout: float = 0.2
    head_scale: float = 32.0  # of the cosine classifiers
    causal: bool = False

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        widths = ("pose_width", "face_width", "hand_width", "conformer_width", "lstm_hidden")
        for name in (*widths, "expansion", "conformer_blocks", "lstm_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} {getattr(self, name)}: expected 1 or more")
        check_conformer(self.conformer_width)
        if len(self.widths) != 3 or min(self.widths) < 1:
            raise UsageError(
                f"model.widths {list(self.widths)}: expected three widths of 1 or more"
            )
        if not 0 < self.head_scale < float("inf"):
            raise UsageError(f"model.head_scale {self.head_scale}: expected a number above 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout {self.dropout}: expected 0 <= dropout < 1")
