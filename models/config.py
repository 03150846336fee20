"""Sizes of the models; no torch in here, so that command lines parse fast."""

from dataclasses import dataclass

from errors import UsageError

PART_ENCODERS = ("linear", "graph")
SEQUENCES = ("conformer", "bilstm")
DEPTHS = ("all", "hands", "none")
CONFORMER_HEADS = 4
# Data/landmarks.py has them with numpy
_BLOCKS = ("position", "velocity", "acceleration", "relative")


def check_conformer(width: int) -> None:
    """Raises UsageError for a width that the heads of a conformer cannot share."""
    if width % CONFORMER_HEADS:
        raise UsageError(
            f"model.conformer_width {width}: a conformer has {CONFORMER_HEADS} heads, expected a multiple of {CONFORMER_HEADS}"
        )


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the teacher. Parts: which named landmark subset (data/landmarks.py) each encoder
    reads, and its width."""

    pose_subset: str = "arms"
    face_subset: str = "mouth_brows_eyes"
    left_hand_subset: str = "left_hand"
    right_hand_subset: str = "right_hand"
    # Which feature blocks of the part are read
    pose_blocks: str = "position velocity acceleration relative"
    face_blocks: str = "velocity relative"
    # Where the hand is, the pose's wrist tells with less jitter
    hand_blocks: str = "velocity acceleration relative"
    depth: str = "all"  # whose z is read: all, hands, none
    # Or graph: landmarks exchange what they see before they are joined
    part_encoder: str = "linear"
    pose_width: int = 256
    face_width: int = 128
    hand_width: int = 256
    fusion_width: int = 512
    inception_widths: tuple[int, int] = (768, 1024)
    sequence: str = "conformer"  # or bilstm
    conformer_width: int = 928
    conformer_blocks: int = 2
    lstm_hidden: int = 1024  # of the BiLSTM, in each direction
    lstm_layers: int = 2
    dropout: float = 0.3
    head_scale: float = 32.0  # of the cosine classifiers

    def __post_init__(self):
        object.__setattr__(self, "inception_widths", tuple(self.inception_widths))
        for name, known in (
            ("depth", DEPTHS),
            ("part_encoder", PART_ENCODERS),
            ("sequence", SEQUENCES),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"model.{name} '{getattr(self, name)}': expected one of {', '.join(known)}"
                )
        for name in ("pose_blocks", "face_blocks", "hand_blocks"):
            blocks = getattr(self, name).split()
            if not blocks or len(set(blocks)) < len(blocks) or not set(blocks) <= set(_BLOCKS):
                raise UsageError(
                    f"model.{name} '{getattr(self, name)}': expected some of '{' '.join(_BLOCKS)}', each once"
                )
        widths = (
            "pose_width",
            "face_width",
            "hand_width",
            "fusion_width",
            "conformer_width",
            "lstm_hidden",
        )
        for name in (*widths, "conformer_blocks", "lstm_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} {getattr(self, name)}: expected 1 or more")
        if len(self.inception_widths) != 2 or min(self.inception_widths) < 8:
            raise UsageError(
                f"model.inception_widths {list(self.inception_widths)}: expected two widths of 8 or more"
            )
        check_conformer(self.conformer_width)
        if not 0 < self.head_scale < float("inf"):
            raise UsageError(f"model.head_scale {self.head_scale}: expected a number above 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout {self.dropout}: expected 0 <= dropout < 1")
