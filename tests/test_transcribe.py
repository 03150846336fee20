"""transcribe.py as it is called: what it prints, writes and refuses."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pympi import Eaf

import evaluate
import transcribe
from benchmarks import online
from data.corpus import Corpus
from data.sources.holistic import missing_library
from errors import DataError, UsageError
from inference.recognizer import open_recognizer
from inference.recordings import Frame, LandmarkStream
from models.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(transcribe.__file__).resolve().parent


@pytest.fixture(scope="module")
def checkpoint(make_settings, execute_run, tmp_path_factory) -> Path:
    """A model that reads the tiny corpus well enough to say something, with a decoder tuned on dev."""
    folder = tmp_path_factory.mktemp("transcribe") / "run"
    execute_run(make_settings(folder, decoder="adaptive", epochs=12))
    return folder / "best_model.pth"


@pytest.fixture(scope="module")
def sentences(tiny_corpus, tmp_path_factory) -> Path:
    """The tiny corpus's dev sentences, a file each, in a folder with a space."""
    folder = tmp_path_factory.mktemp("transcribe") / "dev sentences"
    folder.mkdir()
    split = Corpus(tiny_corpus).split("dev")
    for index, sentence in enumerate(split.sentences):
        np.save(folder / f"{sentence.id}.npy", split.read(index)[0])
    return folder


@pytest.fixture(scope="module")
def hypotheses(checkpoint, tmp_path_factory) -> dict[str, list[tuple[str, str, float, float]]]:
    """Gloss, begin and duration that evaluate.py reads in each dev sentence."""
    output = tmp_path_factory.mktemp("transcribe") / "evaluation"
    evaluate.main(["--checkpoint", str(checkpoint), "--output_dir", str(output), "--device", "cpu"])
    read: dict[str, list] = {}
    for line in (output / "hypotheses.ctm").read_text().splitlines():
        id, _, begin, duration, gloss = line.split()
        read.setdefault(id, []).extend(
            [] if gloss == "@" else [(gloss, float(begin), float(duration))]
        )
    return read


def run(checkpoint: Path, *words) -> int:
    return transcribe.main([*map(str, words), "--checkpoint", str(checkpoint), "--device", "cpu"])


def without_progress(line: str) -> dict:
    return {
        key: value for key, value in json.loads(line).items() if key not in ("frames_per_second",)
    }


def test_a_recording_is_read_as_evaluate_reads_it(checkpoint, sentences, hypotheses, capsys):
    assert run(checkpoint, sentences, "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"] for row in rows} == set(hypotheses) and len(rows) == 4
    assert any(row["glosses"] for row in rows)
    for row in rows:
        expected = hypotheses[row["name"]]
        assert [gloss["gloss"] for gloss in row["glosses"]] == [gloss for gloss, _, _ in expected]
        for gloss, (_, begin, duration) in zip(row["glosses"], expected, strict=True):
            assert gloss["start"] == pytest.approx(begin, abs=0.002)
            assert gloss["end"] == pytest.approx(min(begin + duration, row["seconds"]), abs=0.002)
            assert 0 < gloss["confidence"] <= 1
        assert (
            row["frames"]
            == len(np.load(sentences / f"{row['name']}.npy"))
            == round(25 * row["seconds"])
        )
        assert (row["fps"], row["read"], row["simulated"], row["trained_on"]) == (
            25.0,
            "whole",
            False,
            "tiny",
        )
        assert "(chosen on dev of tiny)" in row["decoder"]


def test_online_on_what_fits_into_a_window_is_offline(checkpoint, sentences, capsys):
    run(checkpoint, sentences, "--format", "json")
    offline = [without_progress(line) for line in capsys.readouterr().out.splitlines()]
    run(checkpoint, sentences, "--format", "json", "--online")
    assert [without_progress(line) for line in capsys.readouterr().out.splitlines()] == offline


def test_a_long_recording_is_read_in_windows_as_it_comes(checkpoint, sentences, tmp_path, capsys):
    long = np.concatenate([np.load(path) for path in sorted(sentences.glob("*.npy"))] * 2)
    np.save(tmp_path / "long.npy", long)
    online = ["--online", "--window", 2, "--overlap", 1.5, "--lookahead", 0.25]
    assert run(checkpoint, tmp_path / "long.npy", *online, "--format", "json") == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["read"] == "in windows" and row["glosses"]
    assert 0 < row["mean_latency"] <= row["largest_latency"] < 2.1
    times = [time for gloss in row["glosses"] for time in (gloss["start"], gloss["end"])]
    assert times == sorted(times) and times[-1] <= row["seconds"]
    assert "read in windows" in captured.err and "s after their end on average" in captured.err
    run(checkpoint, tmp_path / "long.npy", *online)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines] == [gloss["gloss"] for gloss in row["glosses"]]
    run(
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


@pytest.mark.parametrize("decoder", ["greedy", "beam", "adaptive"])
def test_decoders_are_those_of_evaluate(decoder, checkpoint, sentences, capsys):
    assert run(checkpoint, sentences / "dev-00.npy", "--decoder", decoder, "--format", "json") == 0
    assert (
        json.loads(capsys.readouterr().out)["decoder"]
        == open_recognizer(checkpoint, decoder, "cpu").decoder_description
    )


def test_without_a_tuned_decoder_greedy_is_the_default(finished_run, sentences, capsys):
    assert run(finished_run / "best_model.pth", sentences / "dev-00.npy") == 0
    assert "decoder: greedy\n" in capsys.readouterr().err


def test_files_of_several_recordings_and_what_failed(checkpoint, sentences, tmp_path, capsys):
    shutil.copytree(sentences, tmp_path / "in")
    (tmp_path / "in" / "broken.npy").write_bytes(b"no landmarks")
    words = [
        tmp_path / "in",
        tmp_path / "gone.mp4",
        "--format",
        "srt",
        "--output",
        tmp_path / "a b" / "out",
    ]
    assert run(checkpoint, *words) == 3
    err = capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "a b" / "out").iterdir()) == [
        f"dev-0{n}.srt" for n in range(4)
    ]
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert failed[0].startswith(f"failed: {tmp_path}/gone.mp4: does not exist")
    assert failed[1].startswith(f"failed: {tmp_path}/in/broken.npy: is not a readable .npy file")
    assert "2 of 6 recordings failed" in err and "Traceback" not in err


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt", "eaf"])
def test_formats_to_a_file_and_to_the_screen(format, checkpoint, sentences, tmp_path, capsys):
    path = tmp_path / "new" / f"x.{format}"
    assert run(checkpoint, sentences / "dev-00.npy", "--format", format, "--output", path) == 0
    assert not capsys.readouterr().out
    assert run(checkpoint, sentences / "dev-00.npy", "--format", format) == 0
    shown, written = capsys.readouterr().out, path.read_text(encoding="utf-8")
    if format == "eaf":
        assert Eaf(str(path)).get_annotation_data_for_tier("gloss")
        assert "<ANNOTATION_VALUE>" in shown
    elif format == "json":
        assert without_progress(shown) == without_progress(written)
    else:
        assert shown == written
    assert [name.name for name in path.parent.iterdir()] == [path.name]


def test_text_of_several_recordings_says_whose_it_is(checkpoint, sentences, capsys):
    run(checkpoint, sentences)
    heads = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":")]
    assert heads == [f"dev-0{number}:" for number in range(4)]


def test_a_model_of_simulated_signers_says_so(checkpoint, sentences, tmp_path, capsys):
    content = load_checkpoint(checkpoint)
    content["corpus"]["simulated"] = True
    save_checkpoint(tmp_path / "simulated.pth", content)
    run(tmp_path / "simulated.pth", sentences / "dev-00.npy", "--format", "json")
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["simulated"] is True and row["trained_on"] == "tiny (simulated signers)"
    assert (
        captured.err.count(
            "trained on tiny (simulated signers): do not rely on it for real signers"
        )
        == 1
    )


def test_an_older_checkpoint_takes_frame_rate_and_shape_from_its_corpus_or_says_what_it_assumes(
    checkpoint, tiny_corpus, sentences, tmp_path, capsys
):
    content = load_checkpoint(checkpoint)
    for name, value in (("fps", 25.0), ("aspect_ratio", 0.8)):
        assert content["corpus"].pop(name) == value
    save_checkpoint(tmp_path / "older.pth", content)
    found = open_recognizer(tmp_path / "older.pth", None, "cpu")
    assert (found.fps, found.aspect_ratio, found.assumed) == (25.0, 0.8, False)
    content["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "older.pth", content)
    assert run(tmp_path / "older.pth", sentences / "dev-00.npy") == 0
    assert "25 frames/s and width/height 1.333 are assumed" in capsys.readouterr().err
    content["corpus"] |= {"fps": 30.0, "aspect_ratio": 0.75}  # as a checkpoint tells them now
    save_checkpoint(tmp_path / "newer.pth", content)
    found = open_recognizer(tmp_path / "newer.pth", None, "cpu")
    assert (found.fps, found.aspect_ratio, found.assumed) == (30.0, 0.75, False)


def test_a_recording_at_another_rate_keeps_its_times(checkpoint, sentences, tmp_path, capsys):
    frames = np.load(sentences / "dev-00.npy")
    np.save(tmp_path / "twice.npy", np.repeat(frames, 2, axis=0))
    run(checkpoint, sentences / "dev-00.npy", "--format", "json")
    run(checkpoint, tmp_path / "twice.npy", "--fps", 50, "--format", "json")
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


def test_a_camera_until_ctrl_c(checkpoint, sentences, tmp_path, monkeypatch, capsys):
    landmarks = np.concatenate([np.load(path) for path in sorted(sentences.glob("*.npy"))])

    def frames():
        for number, points in enumerate(landmarks):
            yield Frame(number / 25, points, np.ones(4, bool), np.zeros((120, 96, 3), np.uint8))
        raise KeyboardInterrupt

    camera = LandmarkStream(frames(), None, True, 0, 0.8)
    monkeypatch.setattr("inference.transcription.open_camera", lambda number, tracker: camera)
    overlay = ["--overlay", tmp_path / "seen.mp4"]
    try:
        import cv2  # noqa: F401
    except ImportError:  # the transcript does not need it
        overlay = []
    assert (
        run(
            checkpoint,
            "--camera",
            2,
            "--output",
            tmp_path / "seen.json",
            "--format",
            "json",
            *overlay,
        )
        == 0
    )
    row = json.loads((tmp_path / "seen.json").read_text())
    assert (row["name"], row["file"], row["fps"], row["frames"]) == (
        "camera 2",
        None,
        None,
        len(landmarks),
    )
    assert row["glosses"] and row["read"] == "in windows"
    assert "camera 2: stop with Ctrl-C" in capsys.readouterr().err
    assert not overlay or (tmp_path / "seen.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give recordings or --camera N"),
        (["a.npy", "--camera", "0"], "give recordings or --camera N"),
        (["--camera", "-1"], "--camera -1: expected 0 or more"),
        (["--camera", "0", "--online"], "--online has no effect on a camera"),
        (["--camera", "0", "--whole", "3"], "--whole has no effect on a camera"),
        (["--camera", "0", "--fps", "30"], "--fps has no effect on a camera"),
        (
            ["--camera", "0", "--overlay", "x.avi"],
            "--overlay x.avi: expected a name that ends in .mp4",
        ),
        (["a.npy", "--window", "3", "--overlap", "3"], "--overlap 3 must be less than --window 3"),
        (["a.npy", "--lookahead", "5"], "--lookahead 5 must be less than --overlap 5"),
        (["a.npy", "--overlay", "x.mp4"], "draws onto a video, and a.npy has no pictures"),
        (["a.mp4", "--overlay", "x.avi"], "--overlay x.avi: expected a name that ends in .mp4"),
        (
            ["a.npy", "b.npy", "--format", "vtt"],
            "--format vtt of several recordings needs --output FOLDER",
        ),
        (["a.npy", "--output", "a.npy"], "a.npy would be written to a.npy"),
        (["a.mp4", "--overlay", "a.mp4"], "a.mp4 would be written to a.mp4"),
        (
            ["a.npy", "c/a.npy", "--output", "out"],
            "c/a.npy would be written to out/a.txt, where a.npy is or goes",
        ),
        (["a.npy", "--device", "gpu"], "--device gpu: expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_options(words, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.npy", "b.npy", "a.mp4", "c/a.npy"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as raised:
        transcribe.main([*words, "--checkpoint", str(checkpoint)])
    assert message in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--fps", "0"],
        ["--window", "x"],
        ["--decoder", "best"],
        ["--format", "ass"],
        ["--widow", "3"],
    ],
)
def test_wrong_values_are_refused_by_the_parser(words, capsys):
    with pytest.raises(SystemExit) as ended:
        transcribe.main(["a.npy", "--checkpoint", "x.pth", *words])
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "gone.npy: does not exist"),
        ("x.npy", b"", "x.npy is not a readable .npy file"),
        ("x.txt", b"x", "x.txt: is no recording that can be read: expected .mp4"),
        ("x.pose", b"x", "x.pose is not a readable .pose file"),
    ],
)
def test_one_recording_that_cannot_be_read(name, content, message, checkpoint, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        run(checkpoint, tmp_path / name)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_checkpoint_that_is_not_there_or_has_gone_bad(checkpoint, sentences, tmp_path):
    with pytest.raises(DataError, match=r"gone\.pth does not exist"):
        run(tmp_path / "gone.pth", sentences)
    for number, text in enumerate(["training:\n  epochs: 1\n", "id|signer\n", "{}", "\0\1"]):
        (tmp_path / f"{number}.pth").write_text(text)
        with pytest.raises(DataError, match=rf"{number}\.pth cannot be read"):
            run(tmp_path / f"{number}.pth", sentences)
    content = load_checkpoint(checkpoint)
    content["model"]["head.weight"] = torch.full_like(content["model"]["head.weight"], float("nan"))
    save_checkpoint(tmp_path / "nan.pth", content)
    with pytest.raises(DataError, match="log-probabilities are not finite"):
        run(tmp_path / "nan.pth", sentences / "dev-00.npy")


def test_a_place_that_cannot_be_written_to(checkpoint, sentences, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        run(checkpoint, sentences / "dev-00.npy", "--output", tmp_path / "file" / "x.txt")


def test_help_is_fast_and_fits_eighty_columns():
    program = "import sys, transcribe; transcribe.make_parser().format_help(); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "COLUMNS": "80"}
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, timeout=60
        ).returncode
        == 0
    )
    shown = subprocess.run(
        [sys.executable, "transcribe.py", "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_bare_machine(checkpoint, sentences, tmp_path):
    """No locale, no home that can be written to, names with spaces and umlauts."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    named = tmp_path / "Grüße 你好.npy"
    shutil.copy(sentences / "dev-00.npy", named)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    for locale in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}):
        command = [sys.executable, "transcribe.py", str(named), "--checkpoint", str(checkpoint)]
        ended = subprocess.run(
            [*command, "--format", "json"],
            cwd=ROOT,
            env=environment | locale,
            capture_output=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout.decode())["name"] == "Grüße 你好"
        assert b"Traceback" not in ended.stderr


def test_the_benchmark_of_online_reading(checkpoint, tiny_corpus, monkeypatch, capsys):
    words = [
        "online.py",
        "--checkpoint",
        checkpoint,
        "--data_dir",
        tiny_corpus,
        "--seconds",
        100,
        "--device",
        "cpu",
    ]
    words += ["--window", 2, 100, "--overlap", 1.5, "--lookahead", 0.25]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    assert online.main() == 0
    lines = capsys.readouterr().out.splitlines()
    by_itself, whole = (
        next(line for line in lines if line.startswith(start))
        for start in ("each sentence", "as a whole")
    )
    assert "over 4 sentences" in by_itself and "over 1 sentences" in whole
    small, large = (line.split() for line in lines[-3:-1])
    # 12 steps, and the frame that says there is more
    assert small[:3] == ["2", "1.5", "0.25"] and small[-1] == "49"
    assert large[3] == whole.split()[4] and large[4] == "0.00"  # one window is the whole


# --------------------------------------------------------------------------------------------------- with MediaPipe


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """14 frames of scikit-image's astronaut moving, 30 a second; 400x512."""
    try:
        import cv2
        import mediapipe  # noqa: F401
    except ImportError as error:
        pytest.skip(missing_library(error))
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("transcribe") / "a clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (400, 512))
    for number in range(14):
        writer.write(np.ascontiguousarray(astronaut()[:, 5 * number : 5 * number + 400, ::-1]))
    writer.release()
    return path


def test_a_video_with_its_overlay(video, checkpoint, tmp_path, capsys):
    import cv2

    drawn = tmp_path / "drawn.mp4"
    assert run(checkpoint, video, "--format", "json", "--overlay", drawn) == 0
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


def test_footage_where_opencv_s_libraries_are_missing(
    checkpoint, sentences, tmp_path, monkeypatch, capsys
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
        run(checkpoint, tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"libGL\.so\.1: install it"):
        run(checkpoint, "--camera", 0)
    assert run(checkpoint, sentences / "dev-00.npy") == 0  # landmarks need no OpenCV
    assert "1 recording" not in capsys.readouterr().err
