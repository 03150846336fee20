"""Glosses of a causal student frame by frame: as in greedy decoding, on time, in bounded memory."""

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from data.keyed_random import generator
from decoding.timed_gloss import TimedGloss
from errors import DataError
from inference.recognizer import Recognizer, open_recognizer
from inference.recording_transcription import transcribe_recording
from inference.recordings import Frame, Recording
from inference.streaming_transcriber import StreamingTranscriber

RATE = 25.0
LATENCY = 12  # frames: the student's lookahead and the frame after the gloss


@pytest.fixture(scope="module")
def sentence(make_sentence) -> tuple[np.ndarray, np.ndarray]:
    """landmarks float16 (T, 543, 3) and detected (T, 4) of a long sentence with lost hands."""
    glosses = ["HOUSE", "RAIN", "SUN", "WIND", "TOMORROW", "SUN"] * 4
    landmarks, detected = make_sentence(glosses, generator("streaming transcriber"))
    detected[40:44, 0] = False
    return landmarks.astype("<f2"), detected


@pytest.fixture(scope="module")
def recognizer(student_checkpoints, sentence) -> Recognizer:
    """A causal student with greedy decoding, untrained. Its head is made from what the student
    computes at six steps of the sentence, so that its best class changes often."""
    recognizer = open_recognizer(student_checkpoints["causal"], None, "cpu")
    head, inputs = recognizer.streaming_student.head, []
    hook = head.register_forward_pre_hook(lambda module, given: inputs.append(given[0][0]))
    recognizer.log_probs(*sentence)
    hook.remove()
    (states,) = inputs  # (T', hidden)
    mean = states.mean(0)
    differences = states - mean
    across = differences - (differences @ mean)[:, None] * mean / mean.dot(mean)
    with torch.no_grad():
        head.weight[:] = across[torch.linspace(29, len(states) - 1, 6).long()]
    return recognizer


def push_all(transcriber, landmarks, detected) -> list[list]:
    """The glosses that are emitted at each frame."""
    return [transcriber.push(*frame) for frame in zip(landmarks, detected, strict=True)]


@pytest.mark.parametrize("frames", [0, 1, 3, 4, 11, 12, 13, 50, 101, 230])
def test_streamed_glosses_are_those_of_greedy_decoding(recognizer, sentence, frames):
    landmarks, detected = (part[:frames] for part in sentence)
    transcriber = StreamingTranscriber(recognizer, RATE)
    emitted = [gloss for now in push_all(transcriber, landmarks, detected) for gloss in now]
    streamed = emitted + transcriber.finish()
    expected = recognizer.transcribe(landmarks, detected, RATE) if frames else []
    assert [(one.gloss, one.start, one.end) for one in streamed] == [
        (one.gloss, one.start, one.end) for one in expected
    ]
    assert [one.confidence for one in streamed] == pytest.approx(
        [one.confidence for one in expected], abs=1e-4
    )
    if frames == 230:
        assert len(emitted) > 10 and len({one.gloss for one in emitted}) > 2
        assert any(one.end < other.start for one, other in pairwise(emitted)), "a blank"
        assert any(one.end - one.start > 1.5 * 4 / RATE for one in emitted), "of several steps"


def test_a_gloss_is_emitted_as_soon_as_it_is_final(recognizer, sentence):
    transcriber = StreamingTranscriber(recognizer, RATE)
    assert transcriber.latency == LATENCY == recognizer.streaming_student.lookahead + 1
    count = 0
    for frame, emitted in enumerate(push_all(transcriber, *sentence), start=1):
        for gloss in emitted:
            assert frame - round(gloss.end * RATE) == LATENCY
            count += 1
    assert count > 10


def test_later_frames_cannot_change_an_emitted_gloss(recognizer, sentence):
    landmarks, detected = sentence
    seen = 160
    transcriber = StreamingTranscriber(recognizer, RATE)
    frames = push_all(transcriber, landmarks[:seen], detected[:seen])
    emitted = [gloss for now in frames for gloss in now]
    assert len(emitted) > 3
    other = np.random.default_rng(0).uniform(size=landmarks.shape).astype("<f2")
    other[:seen] = landmarks[:seen]
    whole = recognizer.transcribe(other, detected, RATE)[: len(emitted)]
    assert [(one.gloss, one.start, one.end) for one in whole] == [
        (one.gloss, one.start, one.end) for one in emitted
    ]


def recording(landmarks, detected, repeats: int = 1) -> Recording:
    def frames():
        number = 0
        for _ in range(repeats):
            for frame in zip(landmarks, detected, strict=True):
                yield Frame(number / RATE, *frame)
                number += 1

    return Recording(frames(), RATE, True, 0, 0.8)


def test_ten_times_the_length_needs_no_more_memory(recognizer, sentence):
    landmarks, detected = (part[60:90] for part in sentence)
    length = len(landmarks)
    in_use = {}

    def measured() -> Iterator[Frame]:
        for number, frame in enumerate(recording(landmarks, detected, 11).frames):
            if number in (length, 11 * length - 1):
                gc.collect()
                in_use[number] = tracemalloc.get_traced_memory()[0]
            yield frame

    glosses = 0

    def count(new: list[TimedGloss]) -> None:
        nonlocal glosses
        glosses += len(new)

    tracemalloc.start()
    opened = replace(recording(landmarks, detected, 0), frames=measured())
    summary = transcribe_recording(opened, recognizer, None, on_glosses=count)
    tracemalloc.stop()
    assert summary.frames == 11 * length and summary.most_held <= 3
    assert glosses == summary.glosses
    after_one, after_eleven = in_use.values()
    # The smallest array of a frame's coordinates, the body's, takes more than 1,000 bytes.
    assert after_eleven - after_one < 300 * 10 * length


def test_the_summary_has_the_latency_and_the_method(recognizer, sentence):
    summary = transcribe_recording(recording(*sentence), recognizer, None)
    assert summary.method == "frame by frame" == summary.facts()["read"]
    assert summary.largest_latency == pytest.approx(LATENCY / RATE)
    assert "transcribed frame by frame" in str(summary)
    assert "s after their end on average, 0.5 s at most" in str(summary)


def test_another_frame_rate_is_resampled_and_times_are_those_of_the_recording(recognizer, sentence):
    landmarks, detected = sentence

    def frames():
        for number, frame in enumerate(zip(landmarks, detected, strict=True)):
            yield Frame(number / RATE, *frame)
            if number + 1 < len(landmarks):
                yield Frame((number + 0.5) / RATE, *frame)

    glosses = []
    twice = Recording(frames(), 2 * RATE, True, 0, 0.8)
    summary = transcribe_recording(twice, recognizer, None, on_glosses=glosses.extend)
    assert [gloss.gloss for gloss in glosses] == [
        gloss.gloss for gloss in recognizer.transcribe(landmarks, detected, RATE)
    ]
    assert summary.frames == 2 * len(landmarks) - 1


def test_outputs_that_are_not_finite_are_an_error(recognizer, sentence, student_checkpoints):
    broken = open_recognizer(student_checkpoints["causal"], None, "cpu")
    with torch.no_grad():
        broken.streaming_student.head.weight[:] = float("nan")
    with pytest.raises(DataError, match=r"second 0\.48 of the recording: .* are not finite"):
        push_all(StreamingTranscriber(broken, RATE), *sentence)


def test_only_a_recognizer_with_a_streaming_student_streams(recognizer):
    with pytest.raises(AssertionError):
        StreamingTranscriber(replace(recognizer, streaming_student=None), RATE)
