"""Transcription of files, from the command to transcripts and overlays."""

import errno
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pympi import Eaf

from errors import DataError, UsageError
from models.checkpoint import load_checkpoint, save_checkpoint
from tests.mediapipe_support import why_no_tracking


def without_speed(line: str) -> dict:
    return {
        key: value for key, value in json.loads(line).items() if key not in ("frames_per_second",)
    }


def test_online_and_offline_are_equal_if_one_window_is_enough(
    run_transcribe, checkpoint, sentences, capsys
):
    run_transcribe(checkpoint, sentences, "--format", "json")
    offline = [without_speed(line) for line in capsys.readouterr().out.splitlines()]
    run_transcribe(checkpoint, sentences, "--format", "json", "--online")
    assert [without_speed(line) for line in capsys.readouterr().out.splitlines()] == offline


def test_a_long_recording_is_transcribed_in_windows(
    run_transcribe, checkpoint, sentences, tmp_path, capsys
):
    long = np.concatenate([np.load(path) for path in sorted(sentences.glob("*.npy"))] * 2)
    np.save(tmp_path / "long.npy", long)
    online = ["--online", "--window", 2, "--overlap", 1.5, "--lookahead", 0.25]
    assert run_transcribe(checkpoint, tmp_path / "long.npy", *online, "--format", "json") == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["read"] == "in windows" and row["glosses"]
    assert 0 < row["mean_latency"] <= row["largest_latency"] < 2.1
    times = [time for gloss in row["glosses"] for time in (gloss["start"], gloss["end"])]
    assert times == sorted(times) and times[-1] <= row["seconds"]
    assert "--overlap 1.5 is less than --lookahead + 1.5 s: in windows, a gloss" in captured.err
    assert (
        "transcribed in windows" in captured.err and "s after their end on average" in captured.err
    )
    run_transcribe(checkpoint, tmp_path / "long.npy", *online)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines] == [gloss["gloss"] for gloss in row["glosses"]]
    run_transcribe(
        checkpoint,
        tmp_path / "long.npy",
        "--whole",
        1,
        "--window",
        2,
        "--overlap",
        1.5,
        "--lookahead",
        0.25,
    )
    # Longer than --whole: the same without --online
    assert capsys.readouterr().out.splitlines() == lines


def test_several_recordings_get_a_file_each_and_failures_are_listed(
    run_transcribe, checkpoint, sentences, tmp_path, capsys
):
    shutil.copytree(sentences, tmp_path / "in")
    (tmp_path / "in" / "broken\x1b[2J.npy").write_bytes(b"no landmarks")
    words = [
        tmp_path / "in",
        tmp_path / "gone.mp4",
        "--format",
        "srt",
        "--output",
        tmp_path / "a b" / "out",
    ]
    assert run_transcribe(checkpoint, *words) == 3
    err = capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "a b" / "out").iterdir()) == [
        f"dev-0{n}.srt" for n in range(4)
    ]
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert failed[0].startswith(f"failed: {tmp_path}/gone.mp4: does not exist")
    assert failed[1].startswith(
        f"failed: {tmp_path}/in/broken\\x1b[2J.npy: is not a readable .npy file"
    )
    assert "2 of 6 recordings failed" in err and "Traceback" not in err


def test_a_folder_or_pattern_of_one_recording_makes_a_folder(
    run_transcribe, checkpoint, sentences, tmp_path
):
    (tmp_path / "in").mkdir()
    shutil.copy(sentences / "dev-00.npy", tmp_path / "in")
    for number, word in enumerate((tmp_path / "in", tmp_path / "in" / "*.npy")):
        output = tmp_path / f"out {number}"
        assert run_transcribe(checkpoint, word, "--output", output) == 0
        assert [path.name for path in output.iterdir()] == ["dev-00.txt"]
    output = tmp_path / "x.json"
    assert run_transcribe(checkpoint, tmp_path / "in/dev-00.npy", "--output", f"{output}/") == 0
    assert [path.name for path in output.iterdir()] == ["dev-00.txt"]


def test_a_hand_made_annotation_is_kept_unless_overwrite_is_given(
    run_transcribe, checkpoint, sentences, tmp_path
):
    """ELAN puts clip.eaf beside the clip. It is refused before the model is loaded: the checkpoint
    of the first calls does not exist."""
    folder = Path(shutil.copytree(sentences, tmp_path / "videos"))
    annotation = folder / "dev-02.eaf"
    annotation.write_text("three weeks of work")
    to_folder = (folder, "--format", "eaf", "--output", folder)
    to_file = (folder / "dev-02.npy", "--format", "eaf", "--output", annotation)
    from_camera = ("--camera", 0, "--format", "eaf", "--output", annotation)
    for words in (to_folder, to_file, from_camera):
        with pytest.raises(UsageError, match=r"dev-02\.eaf already exists: choose another place"):
            run_transcribe(tmp_path / "none.pth", *words)
    assert annotation.read_text() == "three weeks of work"
    assert len(list(folder.glob("*.eaf"))) == 1
    assert run_transcribe(checkpoint, *to_folder, "--overwrite") == 0
    assert "<ANNOTATION_DOCUMENT" in annotation.read_text()


def test_a_transcription_of_many_recordings_goes_on(
    run_transcribe, checkpoint, sentences, tmp_path, capsys
):
    """What is there stays as it is; what is missing, also because it failed, is made."""
    folder = Path(shutil.copytree(sentences, tmp_path / "videos"))
    good = (folder / "dev-03.npy").read_bytes()
    (folder / "dev-03.npy").write_bytes(b"damaged")
    words = (folder, "--output", tmp_path / "out", "--skip_existing")
    assert run_transcribe(checkpoint, *words) == 3
    assert "transcribed already" not in capsys.readouterr().err
    edited = tmp_path / "out" / "dev-01.txt"
    edited.write_text("edited by hand")
    (tmp_path / "out" / "dev-02.txt").unlink()
    (folder / "dev-03.npy").write_bytes(good)
    assert run_transcribe(checkpoint, *words) == 0
    err = capsys.readouterr().err
    assert "2 of 4 recordings are transcribed already\n" in err
    assert "dev-00: " not in err and "dev-02: " in err and "dev-03: " in err
    assert edited.read_text() == "edited by hand"
    assert len(list((tmp_path / "out").iterdir())) == 4
    # Nothing is left to do, so the model is not even loaded. A failure still counts.
    assert run_transcribe(tmp_path / "none.pth", *words) == 0
    assert run_transcribe(tmp_path / "none.pth", tmp_path / "gone.mp4", *words) == 3
    err = capsys.readouterr().err
    assert "4 of 5 recordings are transcribed already\nfailed: " in err


def test_an_overlay_replaces_no_video(run_transcribe, sentences, tmp_path):
    video = tmp_path / "seen.mp4"
    video.write_bytes(b"a video")
    with pytest.raises(UsageError, match=r"seen\.mp4 already exists"):
        run_transcribe(tmp_path / "none.pth", "--camera", 0, "--overlay", video)
    assert video.read_bytes() == b"a video"


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt", "eaf"])
def test_formats_to_a_file_and_to_the_screen(
    run_transcribe, format, checkpoint, sentences, tmp_path, capsys
):
    path = tmp_path / "new" / f"x.{format}"
    assert (
        run_transcribe(checkpoint, sentences / "dev-00.npy", "--format", format, "--output", path)
        == 0
    )
    assert not capsys.readouterr().out
    assert run_transcribe(checkpoint, sentences / "dev-00.npy", "--format", format) == 0
    shown, written = capsys.readouterr().out, path.read_text(encoding="utf-8")
    if format == "eaf":
        assert Eaf(str(path)).get_annotation_data_for_tier("gloss")
        assert "<ANNOTATION_VALUE>" in shown
    elif format == "json":
        assert without_speed(shown) == without_speed(written)
    else:
        assert shown == written
    assert [name.name for name in path.parent.iterdir()] == [path.name]


def test_text_of_several_recordings_has_their_names(run_transcribe, checkpoint, sentences, capsys):
    run_transcribe(checkpoint, sentences)
    heads = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":")]
    assert heads == [f"dev-0{number}:" for number in range(4)]


def test_a_model_trained_on_simulated_signers_comes_with_a_note(
    run_transcribe, checkpoint, sentences, tmp_path, capsys
):
    content = load_checkpoint(checkpoint)
    content["corpus"]["simulated"] = True
    save_checkpoint(tmp_path / "simulated.pth", content)
    run_transcribe(tmp_path / "simulated.pth", sentences / "dev-00.npy", "--format", "json")
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["simulated"] is True and row["trained_on"] == "tiny (simulated signers)"
    assert (
        captured.err.count(
            "trained on tiny (simulated signers): do not rely on it for real signers"
        )
        == 1
    )
    for format in ("text", "srt"):  # formats that cannot say it: the line that names the file does
        file = tmp_path / f"out.{format}"
        words = ("--format", format, "--output", file)
        run_transcribe(tmp_path / "simulated.pth", sentences / "dev-00.npy", *words)
        assert f" in {file} (trained on simulated signers); " in capsys.readouterr().err


def test_a_recording_at_another_rate_keeps_its_times(
    run_transcribe, checkpoint, sentences, tmp_path, capsys
):
    frames = np.load(sentences / "dev-00.npy")
    np.save(tmp_path / "twice.npy", np.repeat(frames, 2, axis=0))
    run_transcribe(checkpoint, sentences / "dev-00.npy", "--format", "json")
    run_transcribe(checkpoint, tmp_path / "twice.npy", "--fps", 50, "--format", "json")
    slow, fast = map(json.loads, capsys.readouterr().out.splitlines())
    assert (
        fast["seconds"] == pytest.approx(slow["seconds"], abs=0.021)
        and fast["frames"] == 2 * slow["frames"]
    )
    assert [gloss["gloss"] for gloss in fast["glosses"]] == [
        gloss["gloss"] for gloss in slow["glosses"]
    ]
    for one, other in zip(fast["glosses"], slow["glosses"], strict=True):
        assert one["start"] == pytest.approx(other["start"], abs=0.17)


def test_a_causal_student_streams_files_with_online(
    run_transcribe, student_checkpoints, sentences, capsys
):
    words = (student_checkpoints["causal"], sentences, "--format", "json")
    run_transcribe(*words)
    captured = capsys.readouterr()
    whole = [json.loads(line) for line in captured.out.splitlines()]
    assert "streaming" not in captured.err
    run_transcribe(*words, "--online")
    captured = capsys.readouterr()
    streamed = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err.count("streaming: a gloss is final 12 frames (0.48 s)") == 1
    assert any(row["glosses"] for row in streamed)
    for one, other in zip(whole, streamed, strict=True):
        assert (one["read"], other["read"]) == ("whole", "frame by frame")
        for gloss in (*one["glosses"], *other["glosses"]):
            gloss["confidence"] = pytest.approx(gloss["confidence"], abs=2e-4)
        assert one["glosses"] == other["glosses"]
    run_transcribe(*words, "--online", "--window", 8)
    assert "--window, --overlap and --lookahead have no effect\n" in capsys.readouterr().err


def test_without_streaming_the_reason_is_printed(
    run_transcribe, student_checkpoints, checkpoint, sentences, capsys
):
    words = (sentences / "dev-00.npy", "--online")
    run_transcribe(student_checkpoints["causal"], *words, "--decoder", "beam")
    expected = (
        "windows of 6 s, for recordings that are longer than that: a gloss is final when the model "
        "has seen 0.5 s after its end; no streaming: the beam decoder "
        "needs the whole window (--decoder greedy does not)\n"
    )
    assert expected in capsys.readouterr().err
    run_transcribe(checkpoint, *words)  # a teacher cannot stream anyway
    err = capsys.readouterr().err
    assert "for recordings that are longer than that: a gloss is final when the model has" in err
    assert "0.5 s after its end\n" in err and "s transcribed as a whole" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "gone.npy: does not exist"),
        ("x.npy", b"", "x.npy is not a readable .npy file"),
        ("x.txt", b"x", "x.txt: is not a recording: expected .mp4"),
        ("x.pose", b"x", "x.pose is not a readable .pose file"),
    ],
)
def test_one_recording_that_cannot_be_read(
    run_transcribe, name, content, message, checkpoint, tmp_path
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        run_transcribe(checkpoint, tmp_path / name)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_an_output_that_cannot_be_written(run_transcribe, checkpoint, sentences, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        run_transcribe(
            checkpoint, sentences / "dev-00.npy", "--output", tmp_path / "file" / "x.txt"
        )


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """14 frames of scikit-image's astronaut moving, 30 a second; 400x512."""
    if (reason := why_no_tracking()) is not None:
        pytest.skip(reason)
    import cv2
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("transcribe") / "a clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (400, 512))
    for number in range(14):
        writer.write(np.ascontiguousarray(astronaut()[:, 5 * number : 5 * number + 400, ::-1]))
    writer.release()
    return path


def test_a_video_with_its_overlay(run_transcribe, video, checkpoint, tmp_path, capsys):
    import cv2

    drawn = tmp_path / "drawn.mp4"
    assert run_transcribe(checkpoint, video, "--format", "json", "--overlay", drawn) == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert (row["frames"], row["fps"], row["name"]) == (14, 30.0, "a clip")
    assert f"overlay: {drawn}" in captured.err and "XNNPACK" not in captured.err
    capture, frames = cv2.VideoCapture(str(drawn)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 14 and capture.get(cv2.CAP_PROP_FPS) == 30
    before = cv2.VideoCapture(str(video)).read()[1]
    changed = np.abs(frames[0].astype(int) - before).max(2) > 60
    assert 200 < changed.sum() < 0.2 * changed.size  # a skeleton, and no more


def test_videos_without_opencvs_libraries(
    run_transcribe, checkpoint, sentences, tmp_path, monkeypatch, capsys
):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name in ("cv2", "mediapipe"):
                raise ImportError(
                    "libGL.so.1: cannot open shared object file: No such file or directory"
                )

    for name in [name for name in sys.modules if name.split(".")[0] in ("cv2", "mediapipe")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"a\.mp4: .*libGL\.so\.1: install it.*apt-get install libgl1"
    ):
        run_transcribe(checkpoint, tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"libGL\.so\.1: install it"):
        run_transcribe(checkpoint, "--camera", 0)
    assert run_transcribe(checkpoint, sentences / "dev-00.npy") == 0  # landmarks need no OpenCV
    assert "1 recording" not in capsys.readouterr().err


def test_nobody_reads_the_transcripts_any_more(run_transcribe, checkpoint, sentences, monkeypatch):
    """The work stops at the first recording; run_script ends the script with exit code 0."""
    begun = []

    def gone(text: str) -> int:
        begun.append(text)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys.stdout, "write", gone)
    with pytest.raises(BrokenPipeError):
        run_transcribe(checkpoint, sentences)
    assert len(begun) == 1


def test_a_name_of_255_bytes(run_transcribe, checkpoint, sentences, tmp_path):
    """The file has another name until it is complete. That one must not be longer."""
    longest = tmp_path / ("x" * 255)
    assert run_transcribe(checkpoint, sentences / "dev-00.npy", "--output", longest) == 0
    assert longest.is_file()
    shutil.copy(sentences / "dev-00.npy", tmp_path / f"{'y' * 251}.npy")
    (tmp_path / "out").mkdir()
    words = [tmp_path, "--format", "json", "--output", tmp_path / "out"]
    with pytest.raises(UsageError, match="the name has 256 bytes, a file can have 255"):
        run_transcribe(checkpoint, *words)
