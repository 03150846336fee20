import pytest

from data.augmentation.config import AugmentationConfig
from errors import UsageError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed", (1.1, 1.3)),
        ("speed", (0.1, 1.3)),
        ("speed", (0.8, 6)),
        ("speed", (float("nan"), 1.3)),
        ("scale", (0.9, 0.95)),
        ("scale", (1.3, 0.8)),
        ("frame_drop", 0.6),
        ("frame_drop", -0.1),
        ("noise", 1.5),
        ("noise", float("nan")),
        ("rotation", -1),
        ("rotation", 181),
        ("shift", 5.5),
        ("frame_cut", 0.6),
        ("time_mask", -0.1),
        ("aspect", (0.9, 0.95)),
        ("mirror", 1.1),
        ("part_scale", (1.2, 1.3)),
        ("hand_drift", -0.1),
        ("hand_turn", 91),
        ("finger_drop", 1.0),
        ("hand_drop", 0.95),
        ("mix", 2),
    ],
)
def test_impossible_ranges_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=rf"augmentation\.{name} .*expected"):
        AugmentationConfig(**{name: value})
