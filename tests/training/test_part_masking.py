import numpy as np

from training.config import TrainingConfig
from training.part_masking import draw_part_masks

NAMES = [f"s{i}" for i in range(400)]


def test_nothing_is_hidden_without_a_share():
    assert draw_part_masks(TrainingConfig(part_mask=0.0), 1, NAMES) is None


def test_one_view_hides_each_part_as_often_as_said_and_never_all():
    shown = draw_part_masks(TrainingConfig(part_mask=0.3), 1, NAMES)
    assert shown.shape == (1, 400, 4) and shown.any(axis=2).all()
    assert ((shown.mean((0, 1)) > 0.63) & (shown.mean((0, 1)) < 0.78)).all()
    crowded = draw_part_masks(TrainingConfig(part_mask=0.95), 1, NAMES)
    assert crowded.any(axis=2).all() and crowded.all(axis=2).mean() > 0.7, (
        "a view that would see nothing sees all"
    )


def test_two_views_see_every_part_between_them():
    shown = draw_part_masks(TrainingConfig(part_mask=0.4, consistency_weight=1.0), 1, NAMES)
    assert shown.shape == (2, 400, 4)
    assert (shown[0] | shown[1]).all() and not np.array_equal(shown[0], shown[1])


def test_views_are_keyed_by_seed_epoch_and_id():
    options = TrainingConfig(part_mask=0.5, seed=3)
    shown = draw_part_masks(options, 2, NAMES)
    assert np.array_equal(draw_part_masks(options, 2, NAMES[::-1])[0], shown[0][::-1])
    assert not np.array_equal(draw_part_masks(options, 3, NAMES), shown)
    assert not np.array_equal(
        draw_part_masks(TrainingConfig(part_mask=0.5, seed=4), 2, NAMES), shown
    )
