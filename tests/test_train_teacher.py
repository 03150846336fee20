"""The command line of train_teacher.py: options, dry runs, resuming."""

import hashlib
import json
import os
import re
import subprocess
import sys
import types

import pytest
import yaml

import progress_bar
import train_teacher
from command_line import parse_training_command
from data.corpus import Corpus
from models.checkpoint import load_checkpoint, save_checkpoint
from models.devices import choose_device
from tests.conftest import ROOT
from training.config import Config, TrainingCommand


def settings_given(*argv: str) -> dict:
    """{section: {key: value}} of the options of a command line."""
    return parse_training_command(train_teacher.make_parser(), argv, TrainingCommand, Config)[1]


# ---------------------------------------------------------------- options


def test_help_has_all_options(run_main):
    result = run_main(train_teacher.main, "--help")
    assert result.returncode == 0 and result.stderr == ""
    options = """config data_dir output_dir epochs batch_size frames_per_batch learning_rate
        min_learning_rate warmup_epochs weight_decay dropout optimizer accumulation_steps
        max_grad_norm patience augment no-augment decoder precision device linear_layers seed resume
        deterministic compile dry_run extend_vocabulary skip_bad checkpoint_minutes"""
    for option in options.split():
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


def test_a_training_ends_as_usual_when_the_reader_of_its_output_has_gone(tiny_yaml, tmp_path):
    """As in `python train_teacher.py | head`, or when the program that reads the pipe ends."""
    command = [sys.executable, "train_teacher.py", "--config", str(tiny_yaml)]
    command += ["--output_dir", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 0 and (tmp_path / "run" / "result.json").exists()


def test_a_training_starts_without_what_it_needs_later(run_script):
    """The imports of matplotlib, for the report, and of TensorBoard take more than a second."""
    later = "{'matplotlib', 'tensorboard'}"
    code = f"import sys, train_teacher, training.run; print({later} & set(sys.modules))"
    assert run_script("-c", code).stdout.strip() == "set()"


def test_only_given_options_are_settings():
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
def test_each_option_is_a_setting(argv, expected):
    given = settings_given(*argv.split())
    assert given == {"training": expected}
    config = Config().updated(given).training
    assert all(getattr(config, key) == value for key, value in expected.items())


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
    assert used["training"]["batch_size"] == 5, "the file's value"
    assert used["training"]["patience"] == 15, "the default value"
    assert not (tmp_path / "run").exists()


def test_without_a_corpus_the_built_in_corpus_is_used_and_named(
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


def test_a_missing_cuda_device_is_reported(tiny_yaml, monkeypatch, capsys):
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


def test_deterministic_switches_deterministic_algorithms_on(tiny_yaml, monkeypatch):
    calls = []
    monkeypatch.setattr("torch.use_deterministic_algorithms", lambda mode, **_: calls.append(mode))
    assert train_teacher.main(["--config", str(tiny_yaml), "--dry_run"]) == 0 and calls == []
    assert train_teacher.main(
        ["--config", str(tiny_yaml), "--dry_run", "--deterministic"]
    ) == 0 and calls == [True]


def test_a_note_says_that_cuda_may_lack_deterministic_kernels(monkeypatch, capsys):
    monkeypatch.setattr("torch.use_deterministic_algorithms", lambda *_, **__: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    choose_device("cuda", deterministic=True)
    assert (
        "torch warns about each CUDA kernel that has no deterministic version"
        in capsys.readouterr().out
    )
    choose_device("cpu", deterministic=True)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- dry run


def test_a_dry_run_prints_its_plan_and_writes_nothing(tiny_yaml, tiny_corpus, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert train_teacher.main(["--config", str(tiny_yaml), "--dry_run"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    output = capsys.readouterr().out
    *lines, note = output.partition("nothing is written:\n")[2].splitlines()
    assert note.startswith("note: 12 train sentences are few")
    rows = dict(line.strip().split("  ", 1) for line in lines)
    rows = {key: value.strip() for key, value in rows.items()}
    splits = Corpus(tiny_corpus).splits
    assert rows["train sentences"] == "12 (0 left out)" and rows["dev sentences"] == "4"
    assert rows["train frames"] == str(int(splits["train"].lengths.sum()))
    assert rows["dev frames"] == str(int(splits["dev"].lengths.sum()))
    assert (rows["glosses"], rows["updates per epoch"]) == ("5", "2")
    assert rows["batches per epoch"] == "3 of up to 5 sentences"
    assert rows["parameters"].replace(",", "").isdigit() and rows["padding"].endswith(
        " % of the frames"
    )
    assert 0 <= float(rows["padding"].split()[0]) < 50
    assert rows["time per epoch"].endswith("(estimated, without dev)")
    assert "for 3 epochs (estimated)" in rows["time of the run"]
    assert float(rows["train frames/s"].split()[0].replace(",", "")) > 0


def test_a_dry_run_tells_the_frames_of_the_corpus_from_those_of_an_epoch(
    tiny_settings, make_corpus, tmp_path, capsys
):
    train = ["SUN RAIN WIND HOUSE TOMORROW SUN RAIN WIND", *["SUN", "RAIN", "WIND"] * 3]
    corpus = make_corpus(tmp_path / "corpus", {"train": train, "dev": ["SUN RAIN"]})
    tiny_settings["training"]["data_dir"] = str(corpus)
    path, printed = tmp_path / "mix.yaml", {}
    for mix in (0.0, 0.9):
        settings = tiny_settings | {"augmentation": {"mix": mix}}
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        assert train_teacher.main(["--config", str(path), "--dry_run"]) == 0
        printed[mix] = capsys.readouterr().out
    own = int(Corpus(corpus).split("train").lengths.sum())
    assert all(re.search(rf"train frames +{own}\n", text) for text in printed.values())
    assert "frames per epoch" not in printed[0.0]
    (found,) = re.findall(r"frames per epoch +([\d,]+) \(with joined sentences\)", printed[0.9])
    assert int(found.replace(",", "")) > own


def test_a_dry_run_does_not_change_an_earlier_run(run_copy, capsys):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    assert train_teacher.main(["--resume", "auto", "--output_dir", str(run_copy), "--dry_run"]) == 0
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


# ---------------------------------------------------------------- resuming


def test_the_kind_of_start_and_its_reason_are_printed(run_copy, capsys):
    checkpoint = str(run_copy / "best_model.pth")
    assert train_teacher.main(["--resume", checkpoint, "--dry_run"]) == 0
    assert (
        f"continue from {checkpoint}: no setting that shapes training was changed"
        in capsys.readouterr().out
    )
    argv = ["--resume", checkpoint, "--learning_rate", "0.00005", "--epochs", "50", "--dry_run"]
    assert train_teacher.main(argv) == 0
    assert (
        f"new run: a fine-tune in {run_copy}_finetune, not a continuation: --epochs differs from "
        "the checkpoint's (3, now 50); --learning_rate differs from the checkpoint's (0.01, now "
        f"5e-05); it starts with the weights of {checkpoint}\n"
    ) in capsys.readouterr().out


def test_a_run_that_continues_inside_an_epoch_says_where(run_copy, capsys):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    progress = checkpoint["training"]["progress"]
    progress |= {"epoch": 3, "group": 1, "finished": False, "history": progress["history"][:2]}
    save_checkpoint(run_copy / "last.pth", checkpoint)
    train_teacher.main(["--resume", "auto", "--output_dir", str(run_copy), "--dry_run"])
    words = "training was changed; in epoch 3, after 1 of 2 updates\n"
    assert words in capsys.readouterr().out


def test_where_there_is_no_terminal_lines_show_how_far_the_epoch_is(tiny_yaml, monkeypatch, capsys):
    options = ["--config", str(tiny_yaml), "--epochs", "1"]
    train_teacher.main(options)
    assert "updates" not in capsys.readouterr().err, "a short epoch has no line"
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    train_teacher.main(options)
    lines = [line for line in capsys.readouterr().err.splitlines() if "updates" in line]
    assert lines[0] == "epoch 1/1: 0 of 2 updates"
    # The loss is known one update later
    assert re.fullmatch(r"epoch 1/1: 1 of 2 updates, [\d,]+ frames/s, \d+ s left", lines[1])
    assert re.fullmatch(r"epoch 1/1: 2 of 2 updates, loss \d+\.\d\d, [\d,]+ frames/s", lines[2])


def test_a_fine_tune_from_the_command_line(run_copy, capsys):
    checkpoint = str(run_copy / "best_model.pth")
    assert (
        train_teacher.main(["--resume", checkpoint, "--learning_rate", "0.00005", "--epochs", "1"])
        == 0
    )
    folder = run_copy.with_name("copy_finetune")
    assert f"run folder: {folder}" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text())["epochs_run"] == 1


# ---------------------------------------------------------------- reproducible runs


def test_deterministic_runs_are_identical_from_process_to_process(run_script, tiny_yaml, tmp_path):
    """Two processes with two threads each."""
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
