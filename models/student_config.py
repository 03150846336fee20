"""Sizes of the student. No torch in here, so that command lines parse fast."""

from dataclasses import dataclass
from typing import ClassVar

from data.ctc_lengths import TIME_STRIDE
from data.handedness.leading_hand_rules import BY_SIGNER, LEADING_HAND_RULES
from models.config import conformer_conflicts
from settings import Settings, setting

assert TIME_STRIDE == 4, "the student halves the frame rate twice"

_SUBSET = "named landmark subset (data/landmarks.py) of the {} encoder"
_WIDTH = "output width of the {} encoder"


@dataclass(frozen=True)
class StudentModelConfig(Settings):
    """Sizes of the student, and what each part encoder gets as input."""

    prefix: ClassVar[str] = "model."

    pose_subset: str = setting("upper_body", _SUBSET.format("body"))
    face_subset: str = setting("mouth_brows_eyes", _SUBSET.format("face"))
    left_hand_subset: str = setting("left_hand", _SUBSET.format("left hand"))
    right_hand_subset: str = setting("right_hand", _SUBSET.format("right hand"))
    pose_width: int = setting(96, _WIDTH.format("body"), low=1)
    face_width: int = setting(48, _WIDTH.format("face"), low=1)
    hand_width: int = setting(128, _WIDTH.format("hand"), low=1)
    widths: tuple[int, int, int] = setting(
        (192, 256, 384), "channels of the convolutions at the full, half and quarter frame rate"
    )
    expansion: int = setting(2, "factor by which a block expands its channels", low=1)
    conformer_width: int = setting(256, "width of the conformer, a multiple of 4", low=1)
    conformer_blocks: int = setting(1, "blocks of the conformer", low=1)
    lstm_hidden: int = setting(
        256, "hidden size of the LSTM that the causal student has instead of a conformer", low=1
    )
    lstm_layers: int = setting(1, "layers of that LSTM", low=1)
    dropout: float = setting(0.2, "dropout", low=0, below=1, group="optimisation")
    head_scale: float = setting(32.0, "scale of the cosine classifiers", above=0)
    leading_hand: str = setting(
        BY_SIGNER,
        "how left-handed sentences, which are mirrored, are found (data/handedness)",
        choices=LEADING_HAND_RULES,
    )
    causal: bool = setting(
        False,
        "a student for streaming: an output step waits for a few frames only, and features are "
        "normalised by the frames so far",
        group="optimisation",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        super().__post_init__()

    def conflicts(self) -> list[str]:
        wrong = conformer_conflicts(self.conformer_width)
        if len(self.widths) != 3 or min(self.widths) < 1:
            wrong.append(f"model.widths {list(self.widths)}: expected three widths of 1 or more")
        return wrong
