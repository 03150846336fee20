"""Landmarks as 16-bit numbers: what is stored is what is read back, to a known precision."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.landmarks import ALL_LANDMARKS, PART_SLICES, PARTS, LandmarkSelection, subset
from data.stored_landmarks import (
    LARGEST_OFFSET,
    LARGEST_VALUE,
    decode,
    decode_batch,
    encode,
    not_finite,
)
from tests.data.small_corpus import FACTS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "data_format.md"
INT16, FLOAT16 = np.dtype("<i2"), np.dtype("<f2")
# Values of four landmarks of a frame: nose, another point of the pose, face, right hand
POINTS = [0, 20, 100, 540]
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DETECTED = arrays.arrays(bool, (3, 4))


def frames_of(values: np.ndarray) -> np.ndarray:
    """Landmarks (T, 543, 3) with values (T, 4, 3) at POINTS and 0.5 elsewhere."""
    landmarks = np.full((len(values), 543, 3), 0.5)
    landmarks[:, POINTS] = values
    return landmarks


def in_words(stored: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """The decoding of docs/data_format.md, one number at a time."""
    landmarks = np.zeros(stored.shape)
    for frame, point, coordinate in np.ndindex(stored.shape):
        part = next(
            n for n, p in enumerate(PARTS) if PART_SLICES[p].start <= point < PART_SLICES[p].stop
        )
        value = 0.01 * math.sinh(stored[frame, point, coordinate] / 4096)
        if point and coordinate < 2 and detected[frame, part]:
            value += 0.01 * math.sinh(stored[frame, 0, coordinate] / 4096)
        landmarks[frame, point, coordinate] = value
    return landmarks


@settings(deadline=None, max_examples=60)
@given(
    arrays.arrays(np.float64, (3, 4, 3), elements=st.floats(-LARGEST_VALUE, LARGEST_VALUE)),
    DETECTED,
)
def test_every_value_is_read_back_to_the_precision_of_its_offset(values, detected):
    """And a value that is too far away becomes the farthest one, on its side."""
    landmarks = frames_of(values)
    read = decode(encode(landmarks, detected, INT16), detected)
    assert read.dtype == np.float32
    for column, part in enumerate(PARTS):
        assert not read[~detected[:, column], PART_SLICES[part]].any()
        landmarks[~detected[:, column], PART_SLICES[part]] = 0
    origin = np.zeros(landmarks.shape)
    origin[:, 1:, :2] = read[:, :1, :2]
    for column, part in enumerate(PARTS):
        origin[~detected[:, column], PART_SLICES[part]] = 0
    offset = (landmarks - origin).clip(-LARGEST_OFFSET, LARGEST_OFFSET)
    # Half a step of 0.01 sinh(n / 4096), and the rounding of float32
    allowed = np.sqrt(0.01**2 + offset**2) / 4096 * 0.501 + 1e-6
    assert (np.abs(read - (origin + offset)) <= allowed).all()


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.int16, (3, 543, 3), elements=st.integers(-32767, 32767)), DETECTED)
def test_what_was_read_is_stored_as_the_same_numbers_again(stored, detected):
    """A copy of a corpus through CorpusWriter is the same bytes."""
    for column, part in enumerate(PARTS):
        stored[~detected[:, column], PART_SLICES[part]] = 0
    read = decode(stored, detected)
    within = np.abs(read).max() <= LARGEST_VALUE
    assert within
    np.testing.assert_array_equal(encode(read, detected, INT16), stored)


def test_values_read_back_equal_the_documented_formula():
    random = np.random.default_rng(0)
    stored = random.integers(-32768, 32768, (3, 543, 3)).astype(np.int16)
    detected = random.random((3, 4)) < 0.7
    np.testing.assert_allclose(
        decode(stored, detected), in_words(stored, detected), rtol=1e-5, atol=1e-6
    )


def test_the_numpy_lines_of_the_documentation(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    landmarks, detected = random.uniform(0, 1, (6, 543, 3)), random.random((6, 4)) < 0.7
    with CorpusWriter(tmp_path / "c", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "HELLO", landmarks, detected)
    monkeypatch.chdir(tmp_path / "c")
    names: dict = {"np": np}
    exec(DOCUMENT.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], names)
    expected, _ = Corpus(tmp_path / "c").split("train").read(0)
    np.testing.assert_allclose(names["points"], expected, rtol=0, atol=1e-6)


def test_a_part_of_exact_zeros_stays_exact_zeros():
    """A face that is detected but all zero is damage, which `check` must find."""
    landmarks = np.random.default_rng(0).uniform(0.1, 0.9, (4, 543, 3))
    landmarks[:, 33:501] = 0
    detected = np.ones((4, 4), dtype=bool)
    assert not decode(encode(landmarks, detected, INT16), detected)[:, 33:501].any()


@pytest.mark.parametrize("value", [16.0, 99.0, -40.0])
def test_a_guess_far_outside_moves_to_the_limit_and_no_other_value_changes(value):
    landmarks = np.random.default_rng(0).uniform(0.1, 0.9, (2, 543, 3))
    detected = np.ones((2, 4), dtype=bool)
    before = decode(encode(landmarks, detected, INT16), detected)
    landmarks[1, 26, 1] = value
    after = decode(encode(landmarks, detected, INT16), detected)
    assert after[1, 26, 1] == pytest.approx(before[1, 0, 1] + math.copysign(LARGEST_OFFSET, value))
    after[1, 26, 1] = before[1, 26, 1]
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, 100.5, -640])
def test_values_that_are_no_guesses_are_refused_unless_their_part_is_undetected(value):
    landmarks, detected = np.full((2, 543, 3), 0.5), np.ones((2, 4), dtype=bool)
    landmarks[1, 510, 0] = value
    with pytest.raises(ValueError, match="landmarks have"):
        encode(landmarks, detected, INT16)
    detected[1, 2] = False
    assert not encode(landmarks, detected, INT16)[1, 501:522].any()


def test_float16_is_stored_as_numpy_rounds_it_and_read_as_it_is():
    landmarks, detected = np.random.default_rng(0).random((3, 543, 3)), np.ones((3, 4), dtype=bool)
    stored = encode(landmarks, detected, FLOAT16)
    np.testing.assert_array_equal(stored, landmarks.astype(np.float16))
    assert decode(stored, detected) is stored
    batch = torch.from_numpy(stored)[None]
    assert decode_batch(batch, torch.from_numpy(detected)[None]) is batch
    landmarks[0, 0, 0] = 70_000
    with pytest.raises(ValueError, match="too large"):
        encode(landmarks, detected, FLOAT16)


@pytest.mark.parametrize(
    "selection", [ALL_LANDMARKS, LandmarkSelection(subset("mouth"))], ids=["all", "mouth"]
)
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif("not torch.cuda.is_available()"))],
)
def test_a_batch_is_decoded_to_the_same_numbers_on_every_device(selection, device):
    random = np.random.default_rng(0)
    stored = random.integers(-32768, 32768, (2, 3, 543, 3)).astype(np.int16)
    detected = random.random((2, 3, 4)) < 0.7
    found = decode_batch(
        torch.from_numpy(stored[:, :, selection.landmarks]).to(device),
        torch.from_numpy(detected).to(device),
        selection,
    ).cpu()
    for row in range(2):
        expected = decode(stored[row], detected[row])[:, selection.landmarks]
        np.testing.assert_array_equal(found[row].numpy(), expected)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_frames_that_are_not_finite_are_found(kind):
    stored = np.full((2, 5, 7, 3), 65504, kind)
    assert not not_finite(stored).any()
    stored[0, 1, 6, 2], stored[1, 4, 0, 0] = -np.inf, np.nan
    assert np.argwhere(not_finite(stored)).tolist() == [[0, 1], [1, 4]]
    assert not not_finite(np.full((2, 5, 7, 3), -1, np.int16)).any()
