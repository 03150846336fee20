import threading
from itertools import pairwise

import numpy as np
import pytest
import torch

from data.augmentation.config import AugmentationConfig
from data.batching import load_batch
from data.corpus import Corpus
from data.ctc_targets import prepare_split
from data.features import compute_features, feature_blocks, normalize_landmarks
from data.landmarks import ALL_LANDMARKS, BLOCK_SIZE, NUM_FEATURES, LandmarkSelection, subset
from data.pipeline import FeaturePipeline, feature_statistics
from data.vocabulary import Vocabulary
from models.config import ModelConfig
from models.i3d_teacher import I3DTeacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def train(tiny_corpus):
    split = Corpus(tiny_corpus).split("train")
    return prepare_split(
        split, Vocabulary.from_sentences(sentence.glosses for sentence in split.sentences)
    )


def features_of(split, index: int) -> torch.Tensor:
    batch = load_batch(split, np.array([index])).to(CPU)
    return compute_features(batch.landmarks, batch.detected, batch.lengths, 0.8)[0]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_batches_come_in_the_order_of_the_plan(train, count):
    plan = [np.array([index, 11 - index]) for index in range(count)]
    batches = list(FeaturePipeline(0.8, CPU).batches(train.split, plan))
    assert [batch.indices.tolist() for batch in batches] == [indices.tolist() for indices in plan]
    for batch in batches:
        assert batch.frames == int(batch.lengths.sum())
        for row, index in enumerate(batch.indices):
            frames = int(batch.lengths[row])
            torch.testing.assert_close(
                batch.features[row, :frames], features_of(train.split, index), atol=1e-5, rtol=1e-5
            )


def test_statistics_equal_those_of_all_frames_together(train):
    joined = (
        torch.cat([features_of(train.split, index) for index in range(len(train.split))])
        .double()
        .numpy()
    )
    mean, std = feature_statistics(FeaturePipeline(0.8, CPU), train.split, batch_size=5)
    assert mean.shape == std.shape == (6516,) and mean.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), joined.mean(0), atol=1e-5)
    np.testing.assert_allclose(std.numpy(), joined.std(0), atol=1e-4, rtol=1e-3)


def test_statistics_of_a_large_split_use_every_nth_sentence(train):
    frames = int(train.split.lengths.sum())
    found = feature_statistics(FeaturePipeline(0.8, CPU), train.split, max_frames=frames // 3)
    every_third = train.split.subset(range(0, len(train.split), 3))
    expected = feature_statistics(FeaturePipeline(0.8, CPU), every_third)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_disabled_augmentation_gives_the_plain_batches(train):
    plan = [np.array([3, 4])]
    pipeline = FeaturePipeline(0.8, CPU)
    (plain,) = pipeline.batches(train.split, plan)
    (same,) = pipeline.augmented_batches(train, plan, AugmentationConfig(enabled=False), 0, 1)
    assert torch.equal(plain.features, same.features)
    (other,) = pipeline.augmented_batches(train, plan, AugmentationConfig(), 0, 1)
    assert other.features.shape != plain.features.shape or not torch.allclose(
        other.features, plain.features
    )


def test_an_augmented_sentence_depends_on_seed_epoch_and_id_alone(train):
    config = AugmentationConfig()

    def sentence(pipeline, plan, seed=0, epoch=1) -> torch.Tensor:
        for batch in pipeline.augmented_batches(train, plan, config, seed, epoch):
            if 5 in batch.indices:
                row = batch.indices.tolist().index(5)
                return batch.features[row, : int(batch.lengths[row])]
        raise AssertionError

    pipeline = FeaturePipeline(0.8, CPU)
    expected = sentence(pipeline, [np.array([1, 5]), np.array([2])])
    torch.testing.assert_close(
        sentence(pipeline, [np.array([2]), np.array([7, 0, 5])]), expected, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        sentence(FeaturePipeline(0.8, CPU), [np.array([5])]), expected, atol=1e-5, rtol=0
    )
    for changed in ({"seed": 1}, {"epoch": 2}):
        found = sentence(pipeline, [np.array([5])], **changed)
        assert found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-3)


def test_augmented_sentences_can_always_be_aligned(train):
    config = AugmentationConfig(speed=(1, 5), frame_drop=0.5)
    plan = [np.arange(12)]
    for epoch in range(10):
        (batch,) = FeaturePipeline(0.8, CPU).augmented_batches(train, plan, config, 0, epoch)
        for length, glosses in zip(batch.lengths.tolist(), train.references, strict=True):
            repeats = sum(a == b for a, b in pairwise(glosses))
            assert -(-length // 4) >= len(glosses) + repeats
        assert batch.frames == int(batch.lengths.sum())


def test_the_reading_thread_ends_when_the_iteration_stops_early(train):
    before = set(threading.enumerate())
    batches = FeaturePipeline(0.8, CPU).batches(
        train.split, [np.array([index]) for index in range(12)]
    )
    next(batches)
    assert len(set(threading.enumerate()) - before) == 1
    batches.close()
    assert set(threading.enumerate()) <= before


# ------------------------------------------------ features of a selection of landmarks

ALL_CHANGES = {
    "mirror": 0.5,
    "time_mask": 0.2,
    "hand_drop": 0.5,
    "finger_drop": 0.5,
    "part_shift": 0.1,
    "part_scale": (0.9, 1.1),
    "hand_drift": 0.1,
    "hand_turn": 20.0,
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "names", [("arms",), ("brows", "left_hand"), ("pose_all", "eyes", "right_hand")]
)
def test_features_of_a_selection_equal_those_of_all_landmarks(train, names, causal):
    selection = LandmarkSelection({index for name in names for index in subset(name)})
    assert len(selection) < 130
    for config in (AugmentationConfig(enabled=False), AugmentationConfig(**ALL_CHANGES)):
        pipelines = [FeaturePipeline(0.8, CPU, causal, one) for one in (ALL_LANDMARKS, selection)]
        plan = [np.arange(8), np.arange(8, 12)]
        for full, selected in zip(
            *(p.augmented_batches(train, plan, config, 0, 1) for p in pipelines), strict=True
        ):
            expected = full.features[:, :, torch.from_numpy(selection.full_columns)]
            torch.testing.assert_close(selected.features, expected, atol=1e-6, rtol=1e-5)
            assert torch.equal(selected.detected, full.detected) and torch.equal(
                selected.lengths, full.lengths
            )


def test_a_left_handed_sentence_is_mirrored_in_a_selection_too(train):
    """A selection contains the mirror image of each of its landmarks."""
    batch = load_batch(train.split, np.arange(4)).to(CPU)
    batch.landmarks[..., 0] = 1 - batch.landmarks[..., 0]
    selection = LandmarkSelection(subset("brows"))
    full = compute_features(batch.landmarks, batch.detected, batch.lengths, 0.8)
    selected = batch.landmarks[:, :, torch.from_numpy(selection.landmarks)]
    body, _ = normalize_landmarks(selected, batch.detected, batch.lengths, 0.8, selection=selection)
    found = feature_blocks(body, batch.lengths, selection)
    torch.testing.assert_close(
        found, full[:, :, torch.from_numpy(selection.full_columns)], atol=1e-6, rtol=1e-5
    )


def test_the_selection_of_all_landmarks_has_all_feature_columns():
    assert ALL_LANDMARKS.block_size == BLOCK_SIZE and ALL_LANDMARKS.full_columns.tolist() == list(
        range(NUM_FEATURES)
    )
    assert ALL_LANDMARKS.columns_in_selection(np.array([0, 1629, 6515])).tolist() == [0, 1629, 6515]


@pytest.mark.parametrize(
    "settings",
    [{}, {"hand_blocks": "position"}, {"face_subset": "face_all"}],
)
def test_a_model_predicts_the_same_from_a_selection_of_its_landmarks(train, settings):
    sizes = {
        "pose_width": 8,
        "face_width": 8,
        "hand_width": 8,
        "fusion_width": 16,
        "inception_widths": (16, 16),
    }
    config = ModelConfig(**sizes, conformer_width=8, **settings)
    model = I3DTeacher(config, 6).eval()
    selection = LandmarkSelection(model.input_landmarks)
    model.set_input_selection(selection)
    outputs = []
    for pipeline in (FeaturePipeline(0.8, CPU), FeaturePipeline(0.8, CPU, selection=selection)):
        (batch,) = pipeline.batches(train.split, [np.arange(5)])
        outputs.append(model(batch.features, batch.lengths, batch.detected).log_probs)
    torch.testing.assert_close(outputs[1], outputs[0])


def test_statistics_of_a_selection_are_0_and_1_for_the_other_landmarks(train):
    selection = LandmarkSelection(subset("arms"))
    full = feature_statistics(FeaturePipeline(0.8, CPU), train.split)
    mean, std = feature_statistics(FeaturePipeline(0.8, CPU, selection=selection), train.split)
    kept = torch.zeros(NUM_FEATURES, dtype=torch.bool)
    kept[selection.full_columns] = True
    torch.testing.assert_close(mean[kept], full[0][kept])
    torch.testing.assert_close(std[kept], full[1][kept])
    assert not mean[~kept].any() and (std[~kept] == 1).all()
