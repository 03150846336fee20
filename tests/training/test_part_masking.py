import numpy as np

from training.config import TrainingConfig
from training.part_masking import draw_part_masks

IDS = [f"s{i}" for i in range(400)]


def test_no_part_is_hidden_when_the_probability_is_zero():
    assert draw_part_masks(TrainingConfig(part_mask=0.0), 1, IDS) is None


def test_each_part_is_hidden_with_the_given_probability_and_never_all_parts():
    shown = draw_part_masks(TrainingConfig(part_mask=0.3), 1, IDS)
    assert shown.shape == (400, 4) and shown.any(axis=1).all()
    assert ((shown.mean(0) > 0.63) & (shown.mean(0) < 0.78)).all()
    crowded = draw_part_masks(TrainingConfig(part_mask=0.95), 1, IDS)
    assert crowded.any(axis=1).all() and crowded.all(axis=1).mean() > 0.7, (
        "a sentence without any part shows all parts"
    )


def test_masks_depend_on_seed_epoch_and_sentence_id():
    options = TrainingConfig(part_mask=0.5, seed=3)
    shown = draw_part_masks(options, 2, IDS)
    assert np.array_equal(draw_part_masks(options, 2, IDS[::-1]), shown[::-1])
    assert not np.array_equal(draw_part_masks(options, 3, IDS), shown)
    assert not np.array_equal(draw_part_masks(TrainingConfig(part_mask=0.5, seed=4), 2, IDS), shown)
