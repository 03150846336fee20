"""train_teacher.py refuses bad options, settings and data in one line with an exit code."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import train_teacher
import training.final_evaluation
from errors import DataError, UsageError
from models.safe_write import HashedFile
from training.run_files.run_log import RunLog


def one_line(result, code: int) -> str:
    """The line on stderr of a command that ended with this exit code."""
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "5"], "unknown option --epoch 5: did you mean --epochs?"),
        (
            ["--learning-rate=0.1"],
            "unknown option --learning-rate=0.1: did you mean --learning_rate?",
        ),
        (["--lr", "0.1"], "unknown option --lr 0.1: did you mean --learning_rate?"),
        (["--mgn", "1"], "unknown option --mgn 1: did you mean --max_grad_norm?"),
        (["--out", "x"], "unknown option --out x: did you mean --output_dir?"),
        (["--hlr", "1"], "unknown option --hlr 1 (see"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--epochs"], "argument --epochs: expected one argument"),
        (["--optimizer", "sgd"], "argument --optimizer: invalid choice: 'sgd'"),
    ],
)
def test_a_wrong_option_is_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        train_teacher.main(argv)
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1 and "train_teacher.py --help" in errors


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--epochs", "0", "--batch_size", "-1"],
            "epochs 0: expected 1 or more; batch_size -1: expected 1 or more",
        ),
        (["--learning_rate", "nan"], "learning_rate nan: expected a number above 0"),
        (["--dropout", "1.5"], "model.dropout 1.5: expected 0 or more and below 1"),
        (["--config", "no/such.yaml"], "--config no/such.yaml: No such file or directory: expect"),
        (["--config", "configs"], "--config configs: Is a directory: expected a YAML file of sett"),
        (
            ["--frames_per_batch", "1000", "--batch_size", "32"],
            "--batch_size has no effect with --frames_per_batch 1000: leave it out",
        ),
        (["--device", "tpu"], "--device tpu: expected auto, cpu, cuda or cuda:N"),
        (["--device", "cpu:1"], "--device cpu:1: expected auto, cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], "--device cuda:99: this machine has"),
        (["--precision", "fp16", "--device", "cpu"], "--precision fp16 needs a CUDA device"),
    ],
)
def test_an_impossible_setting_is_a_usage_error(argv, message, tiny_corpus, tmp_path):
    with pytest.raises(UsageError) as error:
        train_teacher.main(
            [*argv, "--data_dir", str(tiny_corpus), "--output_dir", str(tmp_path / "run")]
        )
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_width_that_differs_is_refused(run_copy, tmp_path):
    (tmp_path / "wide.yaml").write_text("model: {conformer_width: 96}\n")
    with pytest.raises(
        UsageError, match=r"model\.conformer_width is 16 in the checkpoint and cannot become 96"
    ):
        train_teacher.main(
            ["--config", str(tmp_path / "wide.yaml"), "--resume", str(run_copy / "last.pth")]
        )


def test_a_missing_corpus(run_script, tmp_path):
    result = run_script("train_teacher.py", "--data_dir", tmp_path / "nowhere", "--device", "cpu")
    assert f"{tmp_path / 'nowhere'} does not exist" in one_line(result, 3)


def test_an_unknown_option(run_script):
    assert "did you mean --batch_size?" in one_line(
        run_script("train_teacher.py", "--batchsize", "8"), 2
    )


def test_an_unknown_config_key(run_main, tmp_path):
    (tmp_path / "bad.yaml").write_text("training:\n  epoch: 3\n")
    result = run_main(train_teacher.main, "--config", tmp_path / "bad.yaml")
    assert "unknown config key 'training.epoch': did you mean 'epochs'?" in one_line(result, 2)


def test_a_broken_checkpoint(run_main, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    assert "broken.pth" in one_line(
        run_main(train_teacher.main, "--resume", tmp_path / "broken.pth"), 3
    )


@pytest.fixture
def corpus_copy(tiny_corpus, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


def test_a_truncated_array(run_main, tiny_yaml, corpus_copy):
    path = corpus_copy / "train.landmarks.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    result = run_main(train_teacher.main, "--config", tiny_yaml, "--data_dir", corpus_copy)
    assert "train.landmarks.npy has" in one_line(result, 3) and "truncated" in result.stderr


def test_an_array_of_another_width(tiny_yaml, corpus_copy):
    np.save(corpus_copy / "dev.landmarks.npy", np.zeros((10, 478, 3), np.float16))
    with pytest.raises(
        DataError, match=r"dev\.landmarks\.npy holds float16 \(10, 478, 3\), expected"
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--data_dir", str(corpus_copy)])


def test_an_empty_split(run_main, tiny_yaml, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "empty", {"train": ["SUN"], "dev": []})
    result = run_main(train_teacher.main, "--config", tiny_yaml, "--data_dir", corpus)
    assert "split 'dev' is empty" in one_line(result, 3)


def test_divergence_has_exit_code_4(run_main, tiny_yaml, tmp_path):
    options = (
        "--learning_rate",
        "1e38",
        "--epochs",
        "30",
        "--patience",
        "30",
        "--warmup_epochs",
        "0",
    )
    result = run_main(train_teacher.main, "--config", tiny_yaml, *options)
    assert result.returncode == 4, result.stderr
    last = result.stderr.splitlines()[-1]
    assert (
        last.startswith("error: epoch 1: the model's output is not finite")
        and "Traceback" not in result.stderr
    )


@pytest.mark.parametrize("place", ["checkpoint", "result.json"])
def test_after_a_full_disk_the_message_says_how_to_go_on(tiny_yaml, tmp_path, monkeypatch, place):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "checkpoint":
        add = RunLog.add

        def add_and_fill(*inputs):
            add(*inputs)
            monkeypatch.setattr(HashedFile, "write", full)

        monkeypatch.setattr(RunLog, "add", add_and_fill)
    else:
        monkeypatch.setattr(training.final_evaluation, "write_json", full)
    with pytest.raises(DataError) as ended:
        train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1"])
    run = tmp_path / "run"
    way = f"; free some space, then: python train_teacher.py --resume auto --output_dir {run}"
    assert str(ended.value).startswith("cannot write") and str(ended.value).endswith(way)
    monkeypatch.undo()
    assert train_teacher.main(["--resume", "auto", "--output_dir", str(run)]) == 0


FULL_DISK = """
import resource, sys
from data.corpus import Corpus
from errors import run_script
from train_teacher import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # smaller than a checkpoint
run_script(lambda: main(sys.argv[1:]))
"""


def test_a_full_disk_at_save(run_script, tiny_yaml, tmp_path):
    result = run_script("-c", FULL_DISK, "--config", tiny_yaml)
    assert result.returncode == 3, result.stderr
    last = result.stderr.splitlines()[-1]
    assert (
        last.startswith("error: cannot write")
        and "last.pth" in last
        and "Traceback" not in result.stderr
    )
    assert not list((tmp_path / "run").glob("*.pth*"))
