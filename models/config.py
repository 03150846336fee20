"""Sizes of the teacher. No torch in here, so that command lines parse fast."""

from dataclasses import dataclass
from typing import ClassVar

from data.handedness.leading_hand_rules import BY_SIGNER, LEADING_HAND_RULES
from settings import Settings, setting

SEQUENCES = ("conformer", "bilstm")
DEPTHS = ("all", "hands", "none")
CONFORMER_HEADS = 4
BLOCKS = ("position", "velocity", "acceleration", "relative")  # of the features, in their order

_SUBSET = "named landmark subset (data/landmarks.py) of the {} encoder"
_BLOCKS = "feature blocks of the {} encoder, some of: " + " ".join(BLOCKS)
_WIDTH = "output width of the {} encoder"


def conformer_conflicts(width: int) -> list[str]:
    """What is wrong with the width of a conformer, in words: its heads share it evenly."""
    if width % CONFORMER_HEADS == 0:
        return []
    return [
        f"model.conformer_width {width}: a conformer has {CONFORMER_HEADS} heads, expected a "
        f"multiple of {CONFORMER_HEADS}"
    ]


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Sizes of the teacher, and what each part encoder gets as input."""

    prefix: ClassVar[str] = "model."

    pose_subset: str = setting("arms", _SUBSET.format("body"))
    face_subset: str = setting("mouth_brows_eyes", _SUBSET.format("face"))
    left_hand_subset: str = setting("left_hand", _SUBSET.format("left hand"))
    right_hand_subset: str = setting("right_hand", _SUBSET.format("right hand"))
    pose_blocks: str = setting("position velocity acceleration relative", _BLOCKS.format("body"))
    face_blocks: str = setting("velocity relative", _BLOCKS.format("face"))
    # The position of a hand is that of the pose's wrist, which jitters less.
    hand_blocks: str = setting("velocity acceleration relative", _BLOCKS.format("hand"))
    depth: str = setting("all", "parts whose z coordinate is an input", choices=DEPTHS)
    pose_width: int = setting(256, _WIDTH.format("body"), low=1)
    face_width: int = setting(128, _WIDTH.format("face"), low=1)
    hand_width: int = setting(256, _WIDTH.format("hand"), low=1)
    fusion_width: int = setting(512, "width after the gated fusion of the parts", low=1)
    inception_widths: tuple[int, int] = setting(
        (768, 1024), "widths of the two temporal inception stages, 8 or more each"
    )
    sequence: str = setting("conformer", "the sequence model", choices=SEQUENCES)
    conformer_width: int = setting(928, "width of the conformer, a multiple of 4", low=1)
    conformer_blocks: int = setting(2, "blocks of the conformer", low=1)
    lstm_hidden: int = setting(1024, "hidden size of the BiLSTM in each direction", low=1)
    lstm_layers: int = setting(2, "layers of the BiLSTM", low=1)
    dropout: float = setting(0.3, "dropout", low=0, below=1, group="optimisation")
    head_scale: float = setting(32.0, "scale of the cosine classifiers", above=0)
    leading_hand: str = setting(
        BY_SIGNER,
        "how left-handed sentences, which are mirrored, are found (data/handedness)",
        choices=LEADING_HAND_RULES,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "inception_widths", tuple(self.inception_widths))
        super().__post_init__()

    def conflicts(self) -> list[str]:
        wrong = conformer_conflicts(self.conformer_width)
        for name in ("pose_blocks", "face_blocks", "hand_blocks"):
            blocks = getattr(self, name).split()
            if not blocks or len(set(blocks)) < len(blocks) or not set(blocks) <= set(BLOCKS):
                wrong.append(
                    f"model.{name} '{getattr(self, name)}': expected some of '{' '.join(BLOCKS)}', "
                    "each once"
                )
        if len(self.inception_widths) != 2 or min(self.inception_widths) < 8:
            widths = list(self.inception_widths)
            wrong.append(f"model.inception_widths {widths}: expected two widths of 8 or more")
        return wrong
