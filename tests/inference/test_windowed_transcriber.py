"""A recording as a whole or in windows: the same glosses, bounded memory, emitted when final."""

import dataclasses
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from data.handedness.signer_votes import RecordingVote
from inference.recording_transcription import transcribe_recording
from inference.windowed_transcriber import WindowedTranscriber
from inference.windows import Windows

SEEN = np.ones(4, bool)
ONLINE = Windows(length=4.0, overlap=3.0, lookahead=0.5)
WHOLE = Windows(length=4.0, overlap=3.0, lookahead=0.5, whole_up_to=1000.0)


def test_what_fits_into_one_window_is_transcribed_as_a_whole(toy):
    for frames in (1, 3, 50, 99, 100):  # a window is 100 frames
        classes = toy.signing("-AB-CCA-B")[:frames]
        online, summary = toy.transcribe(classes, ONLINE)
        assert online == toy.transcribe(classes, WHOLE)[0]
        assert summary.method == "whole"


@pytest.mark.parametrize("seed", range(5))
def test_windows_give_the_glosses_of_the_whole_recording(toy, seed):
    letters = np.random.default_rng(seed).choice(list("ABC---"), size=60)
    classes = toy.signing("".join(letters))
    online, summary = toy.transcribe(classes, ONLINE)
    assert summary.method == "in windows" and summary.most_held <= 101
    assert toy.names(online) == toy.names(toy.transcribe(classes, WHOLE)[0])


def test_glosses_are_emitted_when_they_are_final(toy):
    reader, came, emitted = WindowedTranscriber(toy.recognizer, 25.0, ONLINE), {}, []
    classes = toy.signing("-A-B--C-" * 4)
    for number, signed in enumerate(classes, start=1):
        for gloss in reader.push(np.full((543, 3), signed, np.float16), SEEN):
            came[len(emitted)] = number / 25
            emitted.append(gloss)
    rest = reader.finish()
    assert toy.names(emitted + rest) == "ABC" * 4
    assert len(emitted) > 8 and reader.finish() == []
    for number, gloss in enumerate(emitted):
        lag = came[number] - gloss.end
        # Seen for 0.5 s, then at most one hop of 1 s; only the first window is waited for.
        assert lag + 1e-6 >= 0.5 and (lag <= 1.5 + 0.16 or came[number] <= 4.04)


def test_live_does_not_wait_for_the_first_window(toy):
    live = Windows(length=4.0, overlap=3.0, lookahead=0.5, live=True)
    classes = toy.signing("-A-B--C-" * 4)
    glosses, summary = toy.transcribe(classes, live)
    assert toy.names(glosses) == "ABC" * 4 == toy.names(toy.transcribe(classes, ONLINE)[0])
    assert summary.largest_latency <= 0.5 + 1.0 + 0.17  # lookahead, hop, a step
    assert toy.transcribe(classes, ONLINE)[1].largest_latency > 3.0
    assert summary.most_held <= 101
    short, _ = toy.transcribe(classes[:30], live)  # less than a window
    assert short == toy.transcribe(classes[:30], WHOLE)[0]


@pytest.mark.parametrize(
    ("windows", "frames", "expected"),
    [
        (ONLINE, 200, [101, 124, 148, 172, 196, 200]),
        (ONLINE, 172, [101, 124, 148, 172]),
        (replace(ONLINE, overlap=2.0), 200, [101, 148, 196, 200]),
        (replace(ONLINE, overlap=3.99), 120, [101, 104, 108, 112, 116, 120]),
        (replace(ONLINE, live=True), 100, [24, 48, 72, 96, 100]),
    ],
)
def test_the_model_predicts_once_per_hop_and_at_the_end(toy, windows, frames, expected):
    """A window is 100 frames; a hop of 1 s is 24 frames and one of 2 s is 48, in whole steps of
    the model, of 4 frames. With frame 101 a recording is too long for one window."""
    seen, predicted = 0, []

    def log_probs(landmarks, detected):
        predicted.append(seen)
        return toy.log_probs(landmarks, detected)

    reader = WindowedTranscriber(replace(toy.recognizer, log_probs=log_probs), 25.0, windows)
    for signed in toy.signing("-A-B--C-" * 3)[:frames]:
        seen += 1
        reader.push(np.full((543, 3), signed, np.float16), SEEN)
    reader.finish()
    assert predicted == expected


def test_a_short_recording_is_transcribed_as_a_whole_and_a_long_one_in_windows(toy):
    windows = Windows(length=4.0, overlap=3.0, lookahead=0.5, whole_up_to=6.0)
    classes = toy.signing("-AB-CCA-B--AC-B-A")
    short, summary = toy.transcribe(classes[:150], windows)
    assert summary.method == "whole" and summary.most_held == 150
    assert short == toy.transcribe(classes[:150], WHOLE)[0]
    long, summary = toy.transcribe(classes, windows)
    assert summary.method == "in windows" and summary.most_held == 151
    assert toy.names(long) == toy.names(toy.transcribe(classes, WHOLE)[0])


@pytest.mark.parametrize("windows", [ONLINE, Windows(4.0, 3.0, 0.5, whole_up_to=8.0)])
def test_ten_times_the_length_needs_no_more_memory(toy, windows):
    def peak(length: int) -> int:
        classes = np.tile(toy.signing("-A-B--C-"), length)
        tracemalloc.start()
        count = [0]
        transcribe_recording(
            toy.recording(classes),
            toy.recognizer,
            windows,
            on_glosses=lambda found: count.__setitem__(0, count[0] + len(found)),
        )
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count[0] == 3 * length
        return used

    peak(3)  # what is imported on first use
    assert peak(30) < 1.1 * peak(3)


def test_a_recording_without_a_frame_has_no_gloss(toy):
    assert WindowedTranscriber(toy.recognizer, 25.0, ONLINE).finish() == []


def raising(hand: str, frames: int) -> list[np.ndarray]:
    """Landmarks of a signer who raises one hand, or "none"."""
    landmarks = np.full((543, 3), 0.5, dtype=np.float16)
    landmarks[11, :2], landmarks[12, :2] = (0.6, 0.4), (0.4, 0.4)
    landmarks[15, 1] = 0.2 if hand == "left" else 0.8
    landmarks[16, 1] = 0.2 if hand == "right" else 0.8
    return [landmarks] * frames


@pytest.mark.parametrize("decides", [True, False])
def test_which_hand_leads_is_decided_for_the_recording_and_not_for_a_window(toy, decides):
    """The left hand signs for 8 s, then both hands rest for 6 s: whole windows without evidence."""
    decided = []

    def log_probs(landmarks, detected, *left):
        decided.append(left)
        return toy.log_probs(np.zeros_like(landmarks), detected)

    recognizer = dataclasses.replace(toy.recognizer, log_probs=log_probs, recording_decides=decides)
    for windows in (ONLINE, WHOLE):
        transcriber = WindowedTranscriber(recognizer, 25.0, windows)
        for landmarks in [*raising("left", 200), *raising("none", 150)]:
            transcriber.push(landmarks, SEEN)
        transcriber.finish()
    assert len(decided) == 13 and set(decided) == {(True,) if decides else ()}


@pytest.mark.parametrize("windows", [ONLINE, replace(ONLINE, live=True), WHOLE])
@pytest.mark.parametrize("frames", [90, 230, 351])
def test_each_frame_votes_once_for_the_leading_hand(toy, monkeypatch, windows, frames):
    """Also one that is in several windows: it would count several times."""
    voted = []
    add = RecordingVote.add

    def count(vote, landmarks, detected, new):
        voted.append(new)
        assert 0 < new <= len(landmarks)
        add(vote, landmarks, detected, new)

    monkeypatch.setattr(RecordingVote, "add", count)
    recognizer = dataclasses.replace(
        toy.recognizer,
        log_probs=lambda landmarks, detected, left: toy.log_probs(landmarks * 0, detected),
        recording_decides=True,
    )
    transcriber = WindowedTranscriber(recognizer, 25.0, windows)
    for landmarks in raising("left", frames):
        transcriber.push(landmarks, SEEN)
    transcriber.finish()
    assert sum(voted) == frames


def test_a_short_overlap_is_warned_about():
    assert Windows(6.0, 5.0, 0.5).warning() is None and Windows(6.0, 2.0, 0.5).warning() is None
    assert Windows(6.0, 1.5, 0.5).warning().endswith("give at least --overlap 2")
