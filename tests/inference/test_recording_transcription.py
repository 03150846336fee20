"""One recording, from frames to glosses: times, frame rates, image shapes, and the summary."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

import progress_bar
from decoding.timed_gloss import TimedGloss
from errors import DataError
from inference.recording_transcription import transcribe_recording
from inference.recordings import Frame, Recording
from inference.windows import Windows

ONLINE = Windows(length=4.0, overlap=3.0, lookahead=0.5)
WHOLE = Windows(length=4.0, overlap=3.0, lookahead=0.5, whole_up_to=1000.0)


def test_times_are_those_of_the_recording(toy):
    glosses, summary = toy.transcribe(toy.signing("-A-BB"), WHOLE)  # 12 frames a letter: 0.48 s
    assert toy.names(glosses) == "AB"
    assert [(gloss.start, gloss.end) for gloss in glosses] == [
        pytest.approx((0.48, 0.96)),
        pytest.approx((1.44, 2.4)),
    ]
    assert all(
        gloss.confidence == pytest.approx(np.exp(5) / (np.exp(5) + 3), rel=1e-4)
        for gloss in glosses
    )
    assert (summary.frames, summary.seconds, summary.method) == (
        60,
        pytest.approx(2.4),
        "whole",
    )


@pytest.mark.parametrize("fps", [12.5, 29.97, 50.0, 60.0])
def test_a_recording_at_another_rate_keeps_its_own_times(toy, fps):
    frames = round(0.48 * fps)  # a letter
    glosses, summary = toy.transcribe(toy.signing("-A-B-", frames), WHOLE, fps=fps)
    assert toy.names(glosses) == "AB"
    np.testing.assert_allclose(
        [gloss.start * fps for gloss in glosses], [frames, 3 * frames], atol=0.16 * fps
    )
    assert summary.seconds == pytest.approx(5 * frames / fps)


def test_the_model_gets_landmarks_in_its_own_aspect_ratio(toy):
    given = []

    def note(landmarks: np.ndarray, detected: np.ndarray) -> torch.Tensor:
        given.append(landmarks)
        return toy.log_probs(landmarks, detected)

    recording = toy.recording(toy.signing("A"))
    # Twice the model's: x 1 is half a picture to the right of its middle, as is z
    recording.aspect_ratio = 1.6
    transcribe_recording(recording, replace(toy.recognizer, log_probs=note), WHOLE)
    (landmarks,) = given
    assert (
        landmarks.shape == (12, 543, 3)
        and (landmarks == np.array([1.5, 1.0, 2.0], np.float16)).all()
    )


def test_almost_the_models_rate_is_not_resampled_and_times_do_not_drift(toy):
    glosses, _ = toy.transcribe(toy.signing("-" * 999 + "A"), WHOLE, fps=25.1)
    assert glosses[0].start == pytest.approx(999 * 12 / 25.1)


def test_the_summary_has_the_latency(toy):
    _, summary = toy.transcribe(toy.signing("-A-B--C-" * 4), ONLINE)
    assert summary.glosses == 12
    assert 0 < summary.total_latency / 12 <= summary.largest_latency <= 4.04
    text = str(summary)
    assert "transcribed in windows" in text and "frames/s; glosses came" in text
    facts = summary.facts()
    assert facts["read"] == "in windows" and facts["largest_latency"] == round(
        summary.largest_latency, 2
    )
    _, whole = toy.transcribe(toy.signing("-A-"), WHOLE)
    assert "mean_latency" not in whole.facts() and "transcribed as a whole" in str(whole)


def test_a_camera_is_timed_by_the_clock_and_ends_with_ctrl_c(toy):
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.1, size=400))
    times -= times[0]
    classes = np.array(list(toy.signing("-A-B--C-", 25)))[(times * 25).astype(int).clip(max=199)]
    camera = toy.recording(classes, fps=None, times=times)
    inner = camera.frames

    def until_ctrl_c() -> Iterator[Frame]:
        for number, frame in enumerate(inner):
            if number == 150:
                raise KeyboardInterrupt
            yield frame

    camera.frames = until_ctrl_c()
    glosses: list[TimedGloss] = []
    summary = transcribe_recording(camera, toy.recognizer, ONLINE, on_glosses=glosses.extend)
    assert summary.frames == 150 and summary.fps is None
    assert toy.names(glosses) == "ABC"
    np.testing.assert_allclose([gloss.start for gloss in glosses], [1.0, 3.0, 6.0], atol=0.17)


def test_ctrl_c_stops_the_transcription_of_a_file(toy):
    def frames() -> Iterator[Frame]:
        yield Frame(0.0, np.zeros((543, 3), np.float16), np.ones(4, bool))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe_recording(Recording(frames(), 25.0, True, 0, 0.8), toy.recognizer, WHOLE)


def test_uneven_times_are_those_of_the_frames(toy):
    """A phone drops two of three frames in the second half: the gloss lasts as long as before."""
    classes = toy.signing("-A-B-")
    kept = [number for number in range(60) if number < 36 or number % 3 == 0]
    times = 0.5 + np.array(kept) / 25  # the picture begins 0.5 s after the sound
    frames = toy.recording(classes[kept], None, times).frames
    glosses: list[TimedGloss] = []
    transcribe_recording(
        Recording(frames, 25.0, True, 0, 0.8, even=False),
        toy.recognizer,
        WHOLE,
        on_glosses=glosses.extend,
    )
    assert toy.names(glosses) == "AB"
    np.testing.assert_allclose(
        [(gloss.start, gloss.end) for gloss in glosses],
        [(0.98, 1.46), (1.94, 2.42)],
        atol=0.09,
    )


def test_a_camera_that_begins_late_is_timed_from_its_first_frame(toy):
    camera = toy.recording(toy.signing("-A-B-"), fps=None, times=np.arange(60) / 25)
    inner = camera.frames

    def late() -> Iterator[Frame]:
        time.sleep(0.4)
        yield from inner

    camera.frames = late()
    started = time.perf_counter()
    summary = transcribe_recording(camera, toy.recognizer, ONLINE)
    assert summary.work_seconds < time.perf_counter() - started - 0.39


def test_a_recording_that_begins_later_has_its_own_length(toy):
    recording = toy.recording(toy.signing("-A-"))
    frames = [replace(frame, time=frame.time + 10) for frame in recording.frames]
    recording.frames = (frame for frame in frames)
    glosses: list[TimedGloss] = []
    summary = transcribe_recording(recording, toy.recognizer, ONLINE, on_glosses=glosses.extend)
    assert summary.seconds == pytest.approx(len(frames) / 25)
    assert glosses[0].start > 10


@pytest.mark.parametrize(
    "options, words",
    [
        (
            (),
            "frame rate and image shape: 25 frames/s and width/height 0.8 assumed (--fps, --aspec",
        ),
        (("--fps", 25), "image shape: width/height 0.8 assumed (--aspect_ratio)"),
        (("--aspect_ratio", "4/3"), "frame rate: 25 frames/s assumed (--fps)"),
        (("--aspect_ratio", "4/3", "--fps", 25), None),
    ],
)
def test_what_is_assumed_of_a_recording_is_told_once(
    run_transcribe, checkpoint, sentences, capsys, options, words
):
    run_transcribe(checkpoint, sentences, *options)
    assumed = [line for line in capsys.readouterr().err.splitlines() if "assumed" in line]
    if words is None:
        assert assumed == []
    else:
        assert len(assumed) == 1 and f"dev-00.npy does not give its {words}" in assumed[0]


def test_a_missing_model_can_be_an_exported_one(run_transcribe, sentences, tmp_path):
    with pytest.raises(DataError, match=r"not exist: expected best_model\.pth .* or an \.onnx"):
        run_transcribe(tmp_path / "x.pth", sentences)


def test_where_there_is_no_terminal_lines_show_how_far_a_recording_is(
    run_transcribe, checkpoint, sentences, monkeypatch, capsys
):
    run_transcribe(checkpoint, sentences / "dev-00.npy")
    assert " s left" not in capsys.readouterr().err, "a short one has no line"
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    run_transcribe(checkpoint, sentences / "dev-00.npy")
    err = capsys.readouterr().err
    assert re.search(r"^dev-00: 2 of \d+ frames, \d+ s left$", err, re.MULTILINE), err
