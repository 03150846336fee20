"""The command line of train_teacher.py: what a user types and what comes back."""

import hashlib
import json
import os
import resource
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

import train_teacher
from data.corpus import Corpus
from errors import DataError, UsageError
from models.checkpoint import load_checkpoint
from models.devices import choose_device
from training.config import Config, given_settings


def one_line(result, code: int) -> str:
    """The one line on stderr of a command that was refused with this exit code."""
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def settings_given(*argv: str) -> dict:
    """{section: {key: value}} that a command line gives."""
    return given_settings(vars(train_teacher.make_parser().parse_args(argv)), train_teacher.HOMES)


# ---------------------------------------------------------------- options


def test_help_is_quick_and_complete(run_script):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_script("train_teacher.py", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert result.returncode == 0 and result.stderr == ""
    promised = """config data_dir output_dir epochs batch_size frames_per_batch learning_rate min_learning_rate
        warmup_epochs weight_decay dropout optimizer accumulation_steps max_grad_norm patience augment no-augment decoder
        precision device seed resume deterministic compile dry_run extend_vocabulary skip_bad checkpoint_minutes"""
    for option in promised.split():
        assert f"--{option}" in result.stdout, option
    assert "(default: 0.0003)" in result.stdout and "(default: 150)" in result.stdout


def test_help_does_not_import_torch(run_script):
    code = (
        "import sys, train_teacher\n"
        "try: train_teacher.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert run_script("-c", code).returncode == 0


def test_only_what_is_given_overrides():
    assert settings_given() == {}
    assert settings_given(
        "--learning_rate", "5e-5", "--dropout", "0.2", "--no-augment", "--deterministic"
    ) == {
        "training": {"learning_rate": 5e-5, "deterministic": True},
        "model": {"dropout": 0.2},
        "augmentation": {"enabled": False},
    }
    assert settings_given("--augment") == {"augmentation": {"enabled": True}}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--optimizer adam", {"optimizer": "adam"}),
        ("--decoder greedy", {"decoder": "greedy"}),
        ("--precision bf16", {"precision": "bf16"}),
        (
            "--min_learning_rate 1e-7 --warmup_epochs 2.5",
            {"min_learning_rate": 1e-7, "warmup_epochs": 2.5},
        ),
        ("--weight_decay 0 --max_grad_norm 5", {"weight_decay": 0.0, "max_grad_norm": 5.0}),
        ("--epochs 3 --batch_size 4 --patience 6", {"epochs": 3, "batch_size": 4, "patience": 6}),
        (
            "--accumulation_steps 4 --seed 9 --device cpu",
            {"accumulation_steps": 4, "seed": 9, "device": "cpu"},
        ),
    ],
)
def test_options_are_settings(argv, expected):
    given = settings_given(*argv.split())
    assert given == {"training": expected}
    config = Config().updated(given).training
    assert all(getattr(config, key) == value for key, value in expected.items())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "5"], "unknown option --epoch 5: did you mean --epochs?"),
        (
            ["--learning-rate=0.1"],
            "unknown option --learning-rate=0.1: did you mean --learning_rate?",
        ),
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
        (["--dropout", "1.5"], "model.dropout 1.5: expected 0 <= dropout < 1"),
        (["--config", "no/such.yaml"], "--config no/such.yaml: No such file or directory"),
        (["--device", "tpu"], "--device tpu: expected auto, cpu, cuda or cuda:N"),
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


def test_the_command_line_wins_over_the_file(tiny_yaml, tmp_path, capsys):
    argv = [
        "--config",
        str(tiny_yaml),
        "--epochs",
        "1",
        "--no-augment",
        "--dropout",
        "0",
        "--output_dir",
    ]
    assert train_teacher.main([*argv, str(tmp_path / "other")]) == 0
    used = yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())
    assert (
        used["training"]["epochs"] == 1
        and used["augmentation"]["enabled"] is False
        and used["model"]["dropout"] == 0
    )
    assert used["training"]["batch_size"] == 5, "from the file"
    assert used["training"]["patience"] == 15, "the default"
    assert not (tmp_path / "run").exists()


def test_without_a_corpus_the_built_in_one_is_used_and_named(
    tiny_yaml, tiny_corpus, monkeypatch, tmp_path, capsys
):
    settings = yaml.safe_load(tiny_yaml.read_text())
    del settings["training"]["data_dir"]
    tiny_yaml.write_text(yaml.safe_dump(settings))
    stand_in = types.SimpleNamespace(builtin_corpus=lambda: tiny_corpus)
    monkeypatch.setitem(sys.modules, "data.simulation.corpora", stand_in)
    assert train_teacher.main(["--config", str(tiny_yaml), "--dry_run"]) == 0
    assert (
        f"no --data_dir: using the built-in corpus of simulated signers, {tiny_corpus}"
        in capsys.readouterr().out
    )


def test_it_says_that_there_is_no_cuda(tiny_yaml, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert train_teacher.main(["--config", str(tiny_yaml), "--device", "auto", "--dry_run"]) == 0
    output = capsys.readouterr().out
    assert "no CUDA device found: computing on the CPU" in output and "fp32 on cpu" in output


def test_the_adaptive_decoder_evaluates_the_best_checkpoint(tiny_yaml, tmp_path, capsys):
    assert (
        train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1", "--decoder", "adaptive"])
        == 0
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["decoder"] == "adaptive"
    assert (
        f"dev of tiny, adaptive decoder: WER {result['best_dev_wer']:.2f} %"
        in capsys.readouterr().out
    )


def test_bf16_on_the_cpu_trains(tiny_yaml, tmp_path, capsys):
    assert (
        train_teacher.main(["--config", str(tiny_yaml), "--epochs", "2", "--precision", "bf16"])
        == 0
    )
    assert "bf16 on cpu" in capsys.readouterr().out
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


def test_deterministic_is_switched_on(tiny_yaml, monkeypatch):
    calls = []
    monkeypatch.setattr("torch.use_deterministic_algorithms", lambda mode, **_: calls.append(mode))
    assert train_teacher.main(["--config", str(tiny_yaml), "--dry_run"]) == 0 and calls == []
    assert train_teacher.main(
        ["--config", str(tiny_yaml), "--dry_run", "--deterministic"]
    ) == 0 and calls == [True]


def test_what_cuda_cannot_do_deterministically_is_said(monkeypatch, capsys):
    monkeypatch.setattr("torch.use_deterministic_algorithms", lambda *_, **__: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    choose_device("cuda", deterministic=True)
    assert "where CUDA has no deterministic kernel torch names it" in capsys.readouterr().out
    choose_device("cpu", deterministic=True)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- dry run


def test_a_dry_run_says_what_would_be_and_writes_nothing(tiny_yaml, tiny_corpus, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert train_teacher.main(["--config", str(tiny_yaml), "--dry_run"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    output = capsys.readouterr().out
    rows = dict(
        line.strip().split("  ", 1)
        for line in output.partition("nothing is written:\n")[2].splitlines()
    )
    rows = {key: value.strip() for key, value in rows.items()}
    splits = Corpus(tiny_corpus).splits
    assert rows["train sentences"] == "12 (0 left out)" and rows["dev sentences"] == "4"
    assert rows["train frames"] == str(int(splits["train"].lengths.sum()))
    assert rows["dev frames"] == str(int(splits["dev"].lengths.sum()))
    assert (rows["glosses"], rows["updates an epoch"]) == ("5", "2")
    assert rows["batches an epoch"] == "3 of up to 5 sentences"
    assert rows["parameters"].replace(",", "").isdigit() and rows["padding waste"].endswith(" %")
    assert 0 <= float(rows["padding waste"][:-2]) < 50
    assert rows["time an epoch"].endswith("(estimated, without dev)")
    assert "for 3 epochs (estimated)" in rows["time of the run"]
    assert float(rows["train frames/s"].split()[0].replace(",", "")) > 0


def test_a_dry_run_leaves_an_earlier_run_alone(run_copy, capsys):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    assert train_teacher.main(["--resume", "auto", "--output_dir", str(run_copy), "--dry_run"]) == 0
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


# ---------------------------------------------------------------- resuming


def test_it_says_how_it_starts_and_why(run_copy, capsys):
    checkpoint = str(run_copy / "best_model.pth")
    assert train_teacher.main(["--resume", checkpoint, "--dry_run"]) == 0
    assert (
        f"continue from {checkpoint}: nothing that shapes training was changed"
        in capsys.readouterr().out
    )
    argv = ["--resume", checkpoint, "--learning_rate", "0.00005", "--epochs", "50", "--dry_run"]
    assert train_teacher.main(argv) == 0
    expected = (
        "given and different from the checkpoint: epochs 3 -> 50, learning_rate 0.01 -> 5e-05"
    )
    assert f"fine-tune from {checkpoint}: {expected}" in capsys.readouterr().out


def test_a_fine_tune_from_the_command_line(run_copy, capsys):
    checkpoint = str(run_copy / "best_model.pth")
    assert (
        train_teacher.main(["--resume", checkpoint, "--learning_rate", "0.00005", "--epochs", "1"])
        == 0
    )
    folder = run_copy.with_name("copy_finetune")
    assert f"run folder: {folder}" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text())["epochs_run"] == 1


def test_a_width_that_differs_is_refused(run_copy, tmp_path):
    (tmp_path / "wide.yaml").write_text("model: {conformer_width: 96}\n")
    with pytest.raises(
        UsageError, match=r"model\.conformer_width is 16 in the checkpoint and cannot become 96"
    ):
        train_teacher.main(
            ["--config", str(tmp_path / "wide.yaml"), "--resume", str(run_copy / "last.pth")]
        )


# ---------------------------------------------------------------- bad input, as the shell sees it


def test_a_missing_corpus(run_script, tmp_path):
    result = run_script("train_teacher.py", "--data_dir", tmp_path / "nowhere", "--device", "cpu")
    assert f"{tmp_path / 'nowhere'} does not exist" in one_line(result, 3)


def test_an_unknown_option(run_script):
    assert "did you mean --batch_size?" in one_line(
        run_script("train_teacher.py", "--batchsize", "8"), 2
    )


def test_an_unknown_config_key(run_script, tmp_path):
    (tmp_path / "bad.yaml").write_text("training:\n  epoch: 3\n")
    result = run_script("train_teacher.py", "--config", tmp_path / "bad.yaml")
    assert "unknown config key 'training.epoch': did you mean 'epochs'?" in one_line(result, 2)


def test_a_broken_checkpoint(run_script, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    assert "broken.pth" in one_line(
        run_script("train_teacher.py", "--resume", tmp_path / "broken.pth"), 3
    )


@pytest.fixture
def corpus_copy(tiny_corpus, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


def test_a_truncated_array(run_script, tiny_yaml, corpus_copy):
    path = corpus_copy / "train.landmarks.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    result = run_script("train_teacher.py", "--config", tiny_yaml, "--data_dir", corpus_copy)
    assert "train.landmarks.npy has" in one_line(result, 3) and "truncated" in result.stderr


def test_an_array_of_another_width(tiny_yaml, corpus_copy):
    np.save(corpus_copy / "dev.landmarks.npy", np.zeros((10, 478, 3), np.float16))
    with pytest.raises(
        DataError, match=r"dev\.landmarks\.npy holds float16 \(10, 478, 3\), expected"
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--data_dir", str(corpus_copy)])


def test_an_empty_split(run_script, tiny_yaml, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "empty", {"train": ["SUN"], "dev": []})
    result = run_script("train_teacher.py", "--config", tiny_yaml, "--data_dir", corpus)
    assert "split 'dev' is empty" in one_line(result, 3)


def test_divergence(run_script, tiny_yaml, tmp_path):
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
    result = run_script("train_teacher.py", "--config", tiny_yaml, *options)
    assert result.returncode == 4, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: 10 updates in a row") and "Traceback" not in result.stderr


FULL_DISK = """
import resource, sys
from data.corpus import Corpus
from errors import run_script
from train_teacher import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a checkpoint is larger
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


def test_deterministic_runs_are_identical_from_process_to_process(run_script, tiny_yaml, tmp_path):
    """With more than one thread."""
    digests = []
    for number in range(2):
        options = (
            "--deterministic",
            "--epochs",
            "2",
            "--output_dir",
            tmp_path / f"run{number}",
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": str(number)}
        result = run_script("train_teacher.py", "--config", tiny_yaml, *options, env=environment)
        assert result.returncode == 0, result.stderr
        state = load_checkpoint(tmp_path / f"run{number}" / "best_model.pth")
        tensors = {
            **state["model"],
            **{
                f"{k}.{n}": t
                for k, s in state["training"]["optimizer"]["state"].items()
                for n, t in s.items()
            },
        }
        rows = [
            json.loads(line)
            for line in (tmp_path / f"run{number}" / "metrics.jsonl").read_text().splitlines()
        ]
        measured = ("frames_per_second", "peak_memory_gb")
        numbers = [
            {key: value for key, value in row.items() if key not in measured} for row in rows
        ]
        hashed = {
            name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
            for name, tensor in tensors.items()
        }
        digests.append(
            (
                hashed,
                numbers,
                state["decoder"],
                (tmp_path / f"run{number}" / "dev_hypotheses.csv").read_text(),
            )
        )
    assert digests[0] == digests[1]
    assert len(digests[0][0]) > 50
