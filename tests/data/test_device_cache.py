import numpy as np
import pytest
import torch

from data.augmentation.config import AugmentationConfig
from data.augmentation.sentence_mixing import MixedSplit, mix_sentences
from data.augmentation.sentence_splicing import GlossRun, SplicedSplit
from data.batching import load_batch
from data.corpus import Corpus, Split
from data.ctc_lengths import min_frames
from data.ctc_targets import prepare_split
from data.device_cache import CachedSplit, cached_bytes
from data.landmarks import ALL_LANDMARKS, LandmarkSelection, subset
from data.pipeline import FeaturePipeline
from data.stored_landmarks import decode
from data.vocabulary import Vocabulary
from errors import DataError

CPU = torch.device("cpu")
ARMS = LandmarkSelection(subset("arms"))


@pytest.fixture
def split(tiny_corpus) -> Split:
    return Corpus(tiny_corpus).split("train")


def in_float16(split: Split) -> np.ndarray:
    """The landmarks of a split as format 1 stores them."""
    return decode(split.landmarks, split.detected).astype(np.float16)


def assert_same_batches(split: Split, resident: CachedSplit, selection: LandmarkSelection, plan):
    for indices in plan:
        expected, found = (
            load_batch(split, indices, selection).to(CPU),
            resident.batch(split, indices).to(CPU),
        )
        for name in ("landmarks", "detected", "lengths"):
            value, expected_value = getattr(found, name), getattr(expected, name)
            assert value.dtype == expected_value.dtype and torch.equal(value, expected_value), name
        assert found.indices is indices


@pytest.mark.parametrize("selection", [ALL_LANDMARKS, ARMS], ids=["all landmarks", "arms"])
def test_batches_from_the_cache_equal_batches_from_disk(split, selection):
    resident = CachedSplit(split, CPU, selection)
    assert_same_batches(
        split,
        resident,
        selection,
        [np.array([5, 0, 7]), np.array([11]), np.arange(12), np.array([3, 3])],
    )
    assert resident.landmarks.nbytes + resident.detected.nbytes == cached_bytes([split], selection)


@pytest.mark.parametrize("selection", [ALL_LANDMARKS, ARMS], ids=["all landmarks", "arms"])
def test_joined_sentences_are_gathered_from_the_cache_of_single_ones(
    split, selection, make_corpus, tmp_path
):
    annotations = [*["SUN", "RAIN"] * 4, "SUN RAIN WIND HOUSE SUN"]
    split = Corpus(make_corpus(tmp_path / "short", {"train": annotations})).split("train")
    mixed = mix_sentences(split, np.arange(9), 1.0, 0, 1, min_frames, 0.8)
    assert (mixed.partners >= 0).sum() > 3
    resident = CachedSplit(split, CPU, selection)
    assert resident.holds(mixed) and not resident.holds(split.subset([0, 1]))
    assert_same_batches(mixed, resident, selection, [np.arange(9), np.array([2, 8]), np.array([8])])


def test_training_batches_from_the_cache_equal_those_from_disk(split):
    prepared = prepare_split(
        split, Vocabulary.from_sentences(sentence.glosses for sentence in split.sentences)
    )
    plan, config = [np.arange(5), np.array([9, 7])], AugmentationConfig(time_mask=0.2)
    mapped, resident = FeaturePipeline(0.8, CPU), FeaturePipeline(0.8, CPU)
    resident.resident = [CachedSplit(split, CPU)]
    for augmentation in (config, AugmentationConfig(enabled=False)):
        batches = [
            p.augmented_batches(prepared, plan, augmentation, 0, 1) for p in (mapped, resident)
        ]
        for expected, found in zip(*batches, strict=True):
            assert torch.equal(found.features, expected.features) and torch.equal(
                found.detected, expected.detected
            )
            assert found.frames == expected.frames


def test_nan_raises_an_error_when_its_sentence_is_loaded(split):
    landmarks = in_float16(split)
    landmarks[split.offsets[4] + 2, 400, 1] = np.nan
    landmarks[split.offsets[12] - 1, 11, 0] = np.inf
    broken = Split("train", split.sentences, landmarks, split.detected)
    resident = CachedSplit(broken, CPU)
    assert_same_batches(broken, resident, ALL_LANDMARKS, [np.array([0, 1, 2, 3, 5, 10])])
    for index in (4, 11):
        with pytest.raises(DataError) as expected:
            load_batch(broken, np.array([0, index]))
        with pytest.raises(DataError) as raised:
            resident.batch(broken, np.array([0, index]))
        assert f"train-{index:02d}: landmarks hold NaN" in str(raised.value) and str(
            raised.value
        ) == str(expected.value)


def test_nan_in_the_partner_of_a_joined_sentence_raises_an_error(split, make_corpus, tmp_path):
    annotations = [*["SUN", "RAIN"] * 4, "SUN RAIN WIND HOUSE SUN"]
    split = Corpus(make_corpus(tmp_path / "short", {"train": annotations})).split("train")
    mixed = mix_sentences(split, np.arange(9), 1.0, 0, 1, min_frames, 0.8)
    first = int(np.flatnonzero(mixed.partners >= 0)[0])
    landmarks = in_float16(split)
    landmarks[split.offsets[mixed.partners[first]] + 3, 11, 2] = np.nan
    broken = Split("train", split.sentences, landmarks, split.detected)
    broken = MixedSplit(broken, mixed.partners, mixed.transition_lengths, 0.8)
    resident = CachedSplit(broken, CPU, ARMS)
    with pytest.raises(DataError, match=f"train-{first:02d}: landmarks hold NaN"):
        resident.batch(broken, np.array([first]))


def test_a_sentence_without_frames_raises_an_error(split):
    sentences = [*split.sentences[:2], split.sentences[2].__class__("empty", "anna", 0, ("SUN",))]
    frames = sum(sentence.frames for sentence in sentences)
    short = Split("train", sentences, split.landmarks[:frames], split.detected[:frames])
    with pytest.raises(DataError, match="train sentence empty has no frames"):
        CachedSplit(short, CPU).batch(short, np.array([0, 2]))


def test_keep_resident_tells_where_the_landmarks_are(split, monkeypatch):
    assert "landmarks memory-mapped" in FeaturePipeline(0.8, CPU).keep_resident([split])
    made = []
    monkeypatch.setattr(
        "data.pipeline.CachedSplit",
        lambda split, device, selection: made.append((split, selection)),
    )
    needed = cached_bytes([split], ARMS)
    for free, kept in ((2.1 * needed, [(split, ARMS)]), (1.9 * needed, [])):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        pipeline = FeaturePipeline(0.8, torch.device("cuda:0"), selection=ARMS)
        text = pipeline.keep_resident([split])
        assert made == kept and ("resident on cuda:0" in text) == bool(kept)
        made.clear()


def test_landmarks_stay_on_disk_if_the_memory_is_gone_at_the_copy(split, monkeypatch):
    def taken(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("data.pipeline.CachedSplit", taken)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    pipeline = FeaturePipeline(0.8, torch.device("cuda:0"))
    assert "landmarks memory-mapped" in pipeline.keep_resident([split]) and pipeline.resident == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_from_the_cache_on_a_gpu_equal_batches_from_disk(split):
    gpu = torch.device("cuda")
    resident, indices = CachedSplit(split, gpu), np.array([5, 0, 7])
    found, expected = resident.batch(split, indices).to(gpu), load_batch(split, indices).to(CPU)
    assert torch.equal(found.landmarks.cpu(), expected.landmarks) and torch.equal(
        found.detected.cpu(), expected.detected
    )


def test_spliced_sentences_are_gathered_from_the_cache(split):
    """Runs of one sentence can begin at the same frame and end at different ones."""
    runs = {
        0: [GlossRun(0, 0, 1, 0, 3, 0), GlossRun(1, 0, 1, 0, 2, 2)],
        2: [GlossRun(2, 0, 1, 1, 4, 0), GlossRun(1, 0, 1, 0, 9, 2), GlossRun(1, 0, 1, 4, 6, 3)],
    }
    spliced = SplicedSplit(split, runs, 0.8)
    resident = CachedSplit(split, CPU, ARMS)
    assert resident.holds(spliced)
    assert_same_batches(spliced, resident, ARMS, [np.array([0, 2, 3]), np.array([2]), np.arange(5)])
