"""The command line of prepare_data.py: what each command makes and prints."""

import subprocess
import sys

import numpy as np
import pytest

import prepare_data
from data.corpus import Corpus
from errors import UsageError
from tests.conftest import ROOT
from tests.data.signers import mp_data_vectors, standing_signer


def words(*arguments: object) -> list[str]:
    """Words of a command line: strings are split at spaces, paths are not."""
    return [
        word
        for argument in arguments
        for word in (argument.split() if isinstance(argument, str) else [str(argument)])
    ]


def run(*arguments: object) -> int:
    return prepare_data.main(words(*arguments))


@pytest.fixture
def mp_data(tmp_path):
    """Five glosses, ten repetitions of six frames, without a face."""
    for number, gloss in enumerate(["a", "b", "c", "hello", "thank you"]):
        for repetition in range(10):
            folder = tmp_path / "mp" / gloss / str(repetition)
            folder.mkdir(parents=True)
            vectors = mp_data_vectors(standing_signer(6, 10 * number + repetition))
            for frame, vector in enumerate(vectors):
                np.save(folder / f"{frame}.npy", vector)
    return tmp_path / "mp"


@pytest.fixture
def isolated(tmp_path, mp_data):
    """A corpus of the isolated glosses of `mp_data`."""
    assert run("import --format mp_data --input", mp_data, "--output", tmp_path / "isolated") == 0
    return tmp_path / "isolated"


def test_import_compose_and_check(tmp_path, mp_data, capsys):
    assert run("import --format mp_data --input", mp_data, "--output", tmp_path / "isolated") == 0
    output = capsys.readouterr().out
    assert (
        "25 frames/s (--fps), width/height 1.333 (--aspect_ratio; that of a 640x480 webcam)"
        in output
    )
    assert (
        "30 repetitions per session (--repetitions_per_session), 1 recorder in turn (--recorders)"
        in output
    )
    assert "train 50 sentences 300 frames 1 signers 5 glosses" in " ".join(output.split())

    counts = "--sentences 12 --dev_sentences 4 --test_sentences 3 --min_glosses 2 --max_glosses 4"
    folders = ("--input", tmp_path / "isolated", "--output", tmp_path / "out")
    assert run("compose --split_by repetition --seed 1", *folders, counts) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["gloss", "train", "dev", "test"]
    assert [line.split()[0] for line in lines[1:6]] == ["a", "b", "c", "hello", "thank-you"]
    corpus = Corpus(tmp_path / "out")
    assert corpus.describe() == "out (composed)"
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    assert sizes == {"train": 12, "dev": 4, "test": 3}
    tokens = sum(len(sentence.glosses) for sentence in corpus.split("train").sentences)
    assert sum(int(line.split()[1]) for line in lines[1:6]) == tokens
    lengths = {len(s.glosses) for split in corpus.splits.values() for s in split.sentences}
    assert lengths <= {2, 3, 4}

    assert run("check", tmp_path / "out") == 0
    output = capsys.readouterr().out
    assert output.startswith("out (composed), 25 frames/s\n")
    assert output.endswith("\nok\n")


def test_fps_aspect_ratio_and_recorders_come_from_the_command_line(tmp_path, mp_data):
    options = "--fps 30 --aspect_ratio 16/9 --recorders 2 --repetitions_per_session 5"
    folders = ("--input", mp_data, "--output", tmp_path / "out")
    assert run("import --format mp_data", *folders, options) == 0
    corpus = Corpus(tmp_path / "out")
    assert (corpus.fps, corpus.aspect_ratio) == (30.0, 16 / 9)
    signers = {sentence.signer for sentence in corpus.split("train").sentences}
    assert signers == {"recorder01", "recorder02"}


def test_compose_by_signer_names_the_glosses_that_train_does_not_have(tmp_path, mp_data, capsys):
    for repetition in range(5):  # recorder 1 has no "hello"
        for path in (mp_data / "hello" / str(repetition)).iterdir():
            path.unlink()
        (mp_data / "hello" / str(repetition)).rmdir()
    options = "--recorders 2 --repetitions_per_session 5"
    folders = ("--input", mp_data, "--output", tmp_path / "in")
    assert run("import --format mp_data", *folders, options) == 0
    compose = (
        "compose --sentences 10 --dev_sentences 6 --split_by signer --input",
        tmp_path / "in",
    )
    assert run(*compose, "--output", tmp_path / "out") == 0
    assert "warning: glosses of dev that are not in train: hello" in capsys.readouterr().err
    corpus = Corpus(tmp_path / "out")
    assert {sentence.signer for sentence in corpus.split("dev").sentences} == {"recorder02"}
    heldout = "--heldout_signers recorder01"
    assert run(*compose, heldout, "--output", tmp_path / "other") == 0
    train = Corpus(tmp_path / "other").split("train")
    assert {sentence.signer for sentence in train.sentences} == {"recorder02"}


def test_recordings_that_are_left_out_are_reported(tmp_path, mp_data, capsys):
    (mp_data / "a/0").rename(mp_data / "a/30")  # alone in the second session
    run("import --format mp_data --input", mp_data, "--output", tmp_path / "two")
    capsys.readouterr()
    folders = ("--input", tmp_path / "two", "--output", tmp_path / "out")
    run("compose --sentences 5 --dev_sentences 2", *folders)
    assert (
        "left out of train: 1 recordings, from sessions with fewer than 3 different glosses"
        in capsys.readouterr().out
    )


def test_npy_import(tmp_path, capsys):
    landmarks = standing_signer(6)
    (tmp_path / "npy/train").mkdir(parents=True)
    np.save(tmp_path / "npy/train/s1.npy", landmarks.reshape(6, 1629))
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/train.corpus.csv").write_text(
        "id|folder|signer|annotation\ns1|x|anna|HELLO HELLO\n"
    )
    options = ["--input", tmp_path / "npy", "--annotations", tmp_path / "csv", "--output"]
    assert run("import --format npy", *options, tmp_path / "out") == 0
    assert "width/height 0.808 (--aspect_ratio; that of 210x260" in capsys.readouterr().out
    assert Corpus(tmp_path / "out").split("train").sentences[0].glosses == ("HELLO", "HELLO")
    normalize = "--normalize phoenix2014"
    assert run("import --format npy", *options, tmp_path / "clean", normalize) == 0
    assert Corpus(tmp_path / "clean").split("train").sentences[0].glosses == ("HELLO",)


def test_synthesize_built_in_and_from_transcripts(tmp_path, capsys):
    counts = "--sentences 4 --dev_sentences 2 --seed 5"
    assert run("synthesize --output", tmp_path / "a", counts) == 0
    corpus = Corpus(tmp_path / "a")
    assert corpus.simulated
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 4, "dev": 2}
    assert "a (simulated signers)" in capsys.readouterr().out

    for split, ids in (("train", "abcd"), ("dev", "ef")):
        rows = [f"{id}|{id}/*.png|Signer01|REGEN  SONNE" for id in ids]
        (tmp_path / f"{split}.corpus.csv").write_text(
            "\n".join(["id|folder|signer|annotation", *rows]) + "\n"
        )
        (tmp_path / f"{split}.frames.csv").write_text(
            "\n".join(["id|frames", *(f"{id}|40" for id in ids)]) + "\n"
        )
    transcripts = ("--transcripts", tmp_path / "train.corpus.csv")
    frames = ("--frames", tmp_path / "train.frames.csv")
    assert run("synthesize --fraction 0.5 --output", tmp_path / "b", *transcripts, *frames) == 0
    output = capsys.readouterr().out
    assert "train: 4 sentences found, 2 used" in output
    assert "dev: 2 sentences found, 1 used" in output
    corpus = Corpus(tmp_path / "b")
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 2, "dev": 1}
    assert {(s.frames, s.signer, s.glosses) for s in corpus.split("train").sentences} == {
        (40, "Signer01", ("REGEN", "SONNE"))
    }


def test_an_output_folder_that_exists_does_not_change(tmp_path, isolated):
    before = {path.name: path.stat().st_mtime_ns for path in isolated.iterdir()}
    with pytest.raises(UsageError, match="isolated is an input of this command: choose a new fol"):
        run("compose --input", isolated, "--output", isolated)
    assert {path.name: path.stat().st_mtime_ns for path in isolated.iterdir()} == before


@pytest.mark.parametrize(
    "command", ["synthesize", "extract", "merge", "import", "compose", "split", "check"]
)
def test_help_shows_each_command(capsys, command):
    with pytest.raises(SystemExit) as caught:
        run(command, "--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: prepare_data.py {command}")
    assert "None" not in shown
    assert command in ("check", "merge") or "(default: " in shown
    assert f"\n    python prepare_data.py {command} " in shown


def test_help_of_extract_explains_kills_shards_and_failures(capsys):
    with pytest.raises(SystemExit):
        run("extract --help")
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "If the command was stopped, repeat it",
        "RANK=0 WORLD_SIZE=2 python",
        "prepare_data.py merge",
        "is then 3",
    ):
        assert text in shown


def test_exit_codes_and_lines_of_the_script(tmp_path, isolated, run_script, run_main):
    done = run_script("prepare_data.py", "check", isolated)
    assert (done.returncode, done.stderr) == (0, "")
    content = (isolated / "train.landmarks.npy").read_bytes()
    (isolated / "train.landmarks.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    broken = run_script("prepare_data.py", "check", isolated)
    assert (broken.returncode, broken.stderr) == (3, "")
    assert "problem: train.landmarks.npy was changed" in broken.stdout
    assert broken.stdout.endswith("broken: 1 problem\n")
    nowhere = tmp_path / "nowhere"
    data = run_main(
        prepare_data.main, *words("compose --input", nowhere, "--output", tmp_path / "out")
    )
    assert data.returncode == 3
    assert data.stderr == (
        f"error: {nowhere} does not exist: expected a corpus folder made by prepare_data.py\n"
    )
    usage = run_main(prepare_data.main, *words("compose --input", isolated, "--output", isolated))
    assert usage.returncode == 2
    assert usage.stderr == (
        f"error: --output {isolated} is an input of this command: choose a new folder\n"
    )


def test_help_does_not_import_torch(run_script):
    code = (
        "import sys, contextlib, prepare_data\n"
        "with contextlib.suppress(SystemExit): prepare_data.main(['--help'])\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    result = run_script("-c", code)
    assert result.stdout.startswith("usage: prepare_data.py")
    assert result.stdout.splitlines()[-1] == "False False"


def test_the_exit_code_of_check_without_a_reader_says_what_it_found(isolated):
    (isolated / "train.landmarks.npy").write_bytes(b"damaged")
    command = [sys.executable, "prepare_data.py", "check", str(isolated)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
    assert process.returncode == 3


def test_check_also_writes_a_page(tmp_path, isolated, capsys):
    assert run("check", isolated, "--html", tmp_path / "page.html") == 0
    assert "train: shortest " in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    (tmp_path / "page.html").write_text("notes")
    with pytest.raises(UsageError, match=r"page\.html already exists"):
        run("check", isolated, "--html", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "notes"
    assert run("check", isolated, "--html", tmp_path / "page.html", "--overwrite") == 0
    assert run("check", isolated, "--html", tmp_path / "page.HTM") == 0
    (tmp_path / "best_model.pth").write_text("weights")
    with pytest.raises(UsageError, match=r"model\.pth: expected a name that ends in \.html"):
        run("check", isolated, "--html", tmp_path / "best_model.pth", "--overwrite")
    assert (tmp_path / "best_model.pth").read_text() == "weights"


def test_without_a_corpus_there_is_no_page(tmp_path, capsys):
    for path in (tmp_path / "nowhere", tmp_path):
        assert run("check", path, "--html", tmp_path / "page.html") == 3
        assert "page.html is not written: there is no corpus to show" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_extract_and_merge_have_exit_code_3_when_sentences_failed(tmp_path, monkeypatch, capsys):
    from data.sources import extraction

    report = extraction.ExtractionReport(
        sentences=2,
        frames=9,
        failed={
            "dev 'b'": "a\x07.mp4: the reason"
        },  # names of files may send commands to terminals
        warnings=["look\x1b[2J\nhere"],
    )
    asked = {}
    monkeypatch.setattr(
        extraction, "extract", lambda *places, **options: asked.update(options) or report
    )
    merged = []
    monkeypatch.setattr(extraction, "merge_shards", lambda *given: merged.append(given) or report)
    monkeypatch.setattr(prepare_data, "print_corpus", lambda path: None)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    places = ["--input", tmp_path, "--output", tmp_path / "out"]
    settings = "--workers 2 --max_frames 99 --fps 30 --resample_fps 25 --normalize phoenix2014"
    options = ("--annotations", tmp_path, settings)
    assert run("extract", *places, *options) == 3
    assert asked == {
        "workers": 2,
        "max_frames": 99,
        "fps": 30,
        "resample_fps": 25,
        "normalize": "phoenix2014",
        "model_complexity": 1,
        "model": None,
        "rank": 1,
        "world_size": 3,
        "progress": True,
    }
    errors = capsys.readouterr().err.splitlines()
    assert errors[:2] == [r"warning: look\x1b[2J\nhere", r"failed: dev 'b': a\x07.mp4: the reason"]
    assert errors[2].startswith(
        "1 of 3 sentences failed; to try only these again, repair them, remove "
    )
    assert run("merge", *places) == 3
    report.failed.clear()
    assert run("merge", *places) == 0
    report.complete = False
    assert run("extract", *places, *options) == 0
    assert (
        f"shard 1 of 3: 2 sentences, 9 frames in {tmp_path / 'out'}.extracting"
        in capsys.readouterr().out
    )
