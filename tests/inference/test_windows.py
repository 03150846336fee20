"""A recording read whole or in windows: the same glosses, bounded memory, and when they come."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.timed_gloss import TimedGloss
from inference.recognizer import Recognizer
from inference.recordings import Frame, LandmarkStream
from inference.windows import WindowedTranscriber, Windows, transcribe_stream

SEEN = np.ones(4, bool)
VOCABULARY = Vocabulary(["A", "B", "C"])
ONLINE = Windows(length=4.0, overlap=3.0, lookahead=0.5)
WHOLE = Windows(length=4.0, overlap=3.0, lookahead=0.5, whole=1000.0)


def log_probs(landmarks: np.ndarray, detected: np.ndarray) -> torch.Tensor:
    """A model that sees in the first coordinate which class is signed: the commonest of each step's
    four frames."""
    classes = landmarks[:, 0, 0].astype(int)
    steps = [
        np.bincount(classes[start : start + 4], minlength=4).argmax()
        for start in range(0, len(classes), 4)
    ]
    return torch.nn.functional.one_hot(torch.tensor(steps), 4).float().mul(5).log_softmax(-1)


RECOGNIZER = Recognizer(log_probs, VOCABULARY, greedy_decode, "greedy", 25.0, 0.8, "toy", False)


def signing(sentence: str, frames: int = 12) -> np.ndarray:
    """The class of each frame: every letter for `frames` frames, '-' for nothing."""
    return np.repeat(
        [0 if letter == "-" else 1 + "ABC".index(letter) for letter in sentence], frames
    )


def stream(classes, fps: float | None = 25.0, times=None) -> LandmarkStream:
    def frames() -> Iterator[Frame]:
        for number, signed in enumerate(classes):
            time = number / fps if times is None else times[number]
            yield Frame(time, np.full((543, 3), signed, np.float16), SEEN)

    return LandmarkStream(frames(), fps, True, 0, 0.8)


def read(classes, windows: Windows, **options) -> tuple[list[TimedGloss], object]:
    glosses: list[TimedGloss] = []
    progress = transcribe_stream(
        stream(classes, **options), RECOGNIZER, windows, on_glosses=glosses.extend
    )
    return glosses, progress


def names(glosses: list[TimedGloss]) -> str:
    return "".join(gloss.gloss for gloss in glosses)


def test_times_are_those_of_the_recording():
    glosses, progress = read(signing("-A-BB"), WHOLE)  # 12 frames a letter: 0.48 s
    assert names(glosses) == "AB"
    assert [(gloss.start, gloss.end) for gloss in glosses] == [
        pytest.approx((0.48, 0.96)),
        pytest.approx((1.44, 2.4)),
    ]
    assert all(
        gloss.confidence == pytest.approx(np.exp(5) / (np.exp(5) + 3), rel=1e-4)
        for gloss in glosses
    )
    assert (progress.frames, progress.seconds, progress.in_windows) == (
        60,
        pytest.approx(2.4),
        False,
    )


@pytest.mark.parametrize("fps", [12.5, 29.97, 50.0, 60.0])
def test_a_recording_at_another_rate_keeps_its_own_times(fps):
    frames = round(0.48 * fps)  # a letter
    glosses, progress = read(signing("-A-B-", frames), WHOLE, fps=fps)
    assert names(glosses) == "AB"
    np.testing.assert_allclose(
        [gloss.start * fps for gloss in glosses], [frames, 3 * frames], atol=0.16 * fps
    )
    assert progress.seconds == pytest.approx(5 * frames / fps)


def test_the_model_is_given_landmarks_of_its_own_aspect_ratio():
    given = []

    def note(landmarks: np.ndarray, detected: np.ndarray) -> torch.Tensor:
        given.append(landmarks)
        return log_probs(landmarks, detected)

    recording = stream(signing("A"))
    # Twice the model's: x 1 is half a picture to the right of its middle, as is z
    recording.aspect_ratio = 1.6
    transcribe_stream(recording, replace(RECOGNIZER, log_probs=note), WHOLE)
    (landmarks,) = given
    assert (
        landmarks.shape == (12, 543, 3)
        and (landmarks == np.array([1.5, 1.0, 2.0], np.float16)).all()
    )


def test_a_rate_that_is_almost_the_models_is_not_resampled_and_its_clock_does_not_drift():
    glosses, _ = read(signing("-" * 999 + "A"), WHOLE, fps=25.1)
    assert glosses[0].start == pytest.approx(999 * 12 / 25.1)


def test_what_fits_into_one_window_is_read_as_offline():
    for frames in (1, 3, 50, 99, 100):  # a window is 100 frames
        classes = signing("-AB-CCA-B")[:frames]
        online, progress = read(classes, ONLINE)
        assert online == read(classes, WHOLE)[0]
        assert not progress.in_windows


@pytest.mark.parametrize("seed", range(5))
def test_windows_read_what_the_whole_reads(seed):
    letters = np.random.default_rng(seed).choice(list("ABC---"), size=60)
    classes = signing("".join(letters))
    online, progress = read(classes, ONLINE)
    assert progress.in_windows and progress.held <= 101
    assert names(online) == names(read(classes, WHOLE)[0])


def test_glosses_come_when_they_are_settled_and_are_never_taken_back():
    reader, came, emitted = WindowedTranscriber(RECOGNIZER, 25.0, ONLINE), {}, []
    classes = signing("-A-B--C-" * 4)
    for number, signed in enumerate(classes, start=1):
        for gloss in reader.push(np.full((543, 3), signed, np.float16), SEEN):
            came[len(emitted)] = number / 25
            emitted.append(gloss)
    rest = reader.finish()
    assert names(emitted + rest) == "ABC" * 4
    assert len(emitted) > 8 and reader.finish() == []
    for number, gloss in enumerate(emitted):
        lag = came[number] - gloss.end
        # Seen for 0.5 s, then at most one hop of 1 s; only the first window is waited for.
        assert lag + 1e-6 >= 0.5 and (lag <= 1.5 + 0.16 or came[number] <= 4.04)


def test_live_does_not_wait_for_the_first_window():
    live = Windows(length=4.0, overlap=3.0, lookahead=0.5, live=True)
    classes = signing("-A-B--C-" * 4)
    glosses, progress = read(classes, live)
    assert names(glosses) == "ABC" * 4 == names(read(classes, ONLINE)[0])
    assert progress.largest_latency <= 0.5 + 1.0 + 0.17  # lookahead, hop, a step
    assert read(classes, ONLINE)[1].largest_latency > 3.0
    assert progress.held <= 101
    short, _ = read(classes[:30], live)  # less than a window
    assert short == read(classes[:30], WHOLE)[0]


def test_latency_is_told():
    _, progress = read(signing("-A-B--C-" * 4), ONLINE)
    assert progress.glosses == 12
    assert 0 < progress.total_latency / 12 <= progress.largest_latency <= 4.04
    text = str(progress)
    assert "read in windows" in text and "frames/s; glosses came" in text
    facts = progress.facts()
    assert facts["read"] == "in windows" and facts["largest_latency"] == round(
        progress.largest_latency, 2
    )
    _, whole = read(signing("-A-"), WHOLE)
    assert "mean_latency" not in whole.facts() and "read as a whole" in str(whole)


def test_a_short_recording_is_whole_and_a_long_one_goes_over_to_windows():
    windows = Windows(length=4.0, overlap=3.0, lookahead=0.5, whole=6.0)
    classes = signing("-AB-CCA-B--AC-B-A")
    short, progress = read(classes[:150], windows)
    assert not progress.in_windows and progress.held == 150
    assert short == read(classes[:150], WHOLE)[0]
    long, progress = read(classes, windows)
    assert progress.in_windows and progress.held == 151
    assert names(long) == names(read(classes, WHOLE)[0])


@pytest.mark.parametrize("windows", [ONLINE, Windows(4.0, 3.0, 0.5, whole=8.0)])
def test_ten_times_the_length_needs_no_more_memory(windows):
    def peak(length: int) -> int:
        classes = np.tile(signing("-A-B--C-"), length)
        tracemalloc.start()
        count = [0]
        transcribe_stream(
            stream(classes),
            RECOGNIZER,
            windows,
            on_glosses=lambda found: count.__setitem__(0, count[0] + len(found)),
        )
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count[0] == 3 * length
        return used

    peak(3)  # what is imported on first use
    assert peak(30) < 1.1 * peak(3)


def test_a_camera_is_read_by_the_clock_and_ends_with_ctrl_c():
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.1, size=400))
    times -= times[0]
    classes = np.array(list(signing("-A-B--C-", 25)))[(times * 25).astype(int).clip(max=199)]
    camera = stream(classes, fps=None, times=times)
    inner = camera.frames

    def until_ctrl_c() -> Iterator[Frame]:
        for number, frame in enumerate(inner):
            if number == 150:
                raise KeyboardInterrupt
            yield frame

    camera.frames = until_ctrl_c()
    glosses: list[TimedGloss] = []
    progress = transcribe_stream(camera, RECOGNIZER, ONLINE, on_glosses=glosses.extend)
    assert progress.frames == 150 and progress.fps is None
    assert names(glosses) == "ABC"
    np.testing.assert_allclose([gloss.start for gloss in glosses], [1.0, 3.0, 6.0], atol=0.17)


def test_ctrl_c_in_a_file_is_not_swallowed():
    def frames() -> Iterator[Frame]:
        yield Frame(0.0, np.zeros((543, 3), np.float16), SEEN)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe_stream(LandmarkStream(frames(), 25.0, True, 0, 0.8), RECOGNIZER, WHOLE)


def test_no_frame_no_gloss():
    assert WindowedTranscriber(RECOGNIZER, 25.0, ONLINE).finish() == []
