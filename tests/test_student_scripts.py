"""The command lines of export_soft_targets.py, distill_student.py and export_model.py."""

import json
import re
import resource
from importlib import import_module

import numpy as np
import pytest
import torch
import yaml

import distill_student
import export_model
import export_soft_targets
import overfit_test
import train_teacher
from command_line import parse_training_command
from data.corpus import Corpus
from decoding.greedy import greedy_decode
from distillation.config import StudentConfig
from errors import DataError, UsageError
from inference.model_on_corpus import open_model_on_corpus
from training.config import TrainingCommand

MODEL = {
    "pose_width": 8,
    "face_width": 8,
    "hand_width": 16,
    "widths": [16, 24, 24],
    "conformer_width": 16,
    "lstm_hidden": 16,
}


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (
            "export_soft_targets.py",
            "checkpoint data_dir splits temperature output_dir views seed device",
        ),
        (
            "distill_student.py",
            """teacher soft_targets soft_weight ctc_weight temperature soft_blank no-soft_blank
            config data_dir output_dir resume epochs batch_size accumulation_steps learning_rate
            patience dropout augment no-augment causal precision device seed dry_run skip_bad
            linear_layers checkpoint_minutes warmup_epochs weight_decay""",
        ),
        ("export_model.py", "checkpoint format output int8 data_dir"),
    ],
)
def test_help_is_quick_and_names_every_option(run_script, script, options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_script(script, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert result.returncode == 0 and result.stderr == ""
    for option in options.split():
        assert f"--{option}" in result.stdout, option
    body = (
        "import sys, {0}\n"
        "try: {0}.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert run_script("-c", body.format(script.removesuffix(".py"))).returncode == 0


def test_what_only_a_teacher_can_do_is_no_option(run_main):
    ended = run_main(distill_student.main, "--help")
    assert "--linear_layers" in ended.stdout and "compile" not in ended.stdout
    ended = run_main(distill_student.main, "--soft_weight", "0", "--compile")
    assert ended.returncode == 2 and "unknown option --compile" in ended.stderr


def test_each_option_sets_the_key_of_its_section():
    words = "--teacher a.pth --temperature 2 --soft_blank --causal --dropout 0.3 --no-augment"
    argv = [*words.split(), "--learning_rate", "1e-3"]
    parser = distill_student.make_parser()
    _, given = parse_training_command(parser, argv, TrainingCommand, StudentConfig)
    assert given == {
        "distillation": {"teacher": "a.pth", "temperature": 2.0, "soft_blank": True},
        "model": {"causal": True, "dropout": 0.3},
        "augmentation": {"enabled": False},
        "training": {"learning_rate": 1e-3},
    }


def test_from_a_teacher_to_an_exported_student(
    run_script, run_main, finished_run, tiny_corpus, tmp_path
):
    """The commands of a user: soft targets, student, ONNX, and glosses without torch."""
    teacher, soft, run, file = (
        finished_run / "best_model.pth",
        tmp_path / "soft",
        tmp_path / "run",
        tmp_path / "s.onnx",
    )
    config = tmp_path / "small.yaml"
    config.write_text(
        yaml.safe_dump({"model": MODEL, "training": {"learning_rate": 0.01}}), encoding="utf-8"
    )
    steps = (
        (
            "export_soft_targets.py",
            "--checkpoint",
            teacher,
            "--output_dir",
            soft,
            "--splits",
            "train",
            "--views",
            2,
        ),
        (
            "distill_student.py",
            "--config",
            config,
            "--soft_targets",
            soft,
            "--output_dir",
            run,
            "--epochs",
            2,
        ),
        (
            "evaluate.py",
            "--checkpoint",
            run / "best_model.pth",
            "--split",
            "dev",
            "--decoder",
            "greedy",
        ),
        ("export_model.py", "--checkpoint", run / "best_model.pth", "--output", file),
    )
    for script, *options in steps:  # in this process: a start of Python and torch takes seconds
        result = run_main(import_module(script.removesuffix(".py")).main, *options)
        assert result.returncode == 0, result.stderr
    assert "greedy WER" in result.stdout

    student = open_model_on_corpus(run / "best_model.pth", None, "cpu")
    split = Corpus(tiny_corpus).split("dev")
    log_probs = student.posteriors_of("dev", 1)
    np.save(tmp_path / "landmarks.npy", split.read(1)[0])
    ended = run_script("docs/exported_model.py", file, tmp_path / "landmarks.npy")
    assert ended.returncode == 0, ended.stderr
    (expected,) = greedy_decode(log_probs[None], torch.tensor([len(log_probs)]))
    assert ended.stdout.split() == student.vocabulary.decode(expected)
    landmarks = split.read(1)[0].astype(np.float32)
    spoken = []
    for value in (0, np.nan):
        landmarks[:, 501:522] = value
        np.save(tmp_path / "flat.npy", landmarks.reshape(-1, 1629))
        spoken.append(run_script("docs/exported_model.py", file, tmp_path / "flat.npy").stdout)
    assert spoken[0] == spoken[1] != "\n", "NaN is not detected, like zeros"
    np.save(tmp_path / "few.npy", np.zeros((5, 225)))
    ended = run_script("docs/exported_model.py", file, tmp_path / "few.npy")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "cannot reshape" in ended.stderr and "landmarks (T, 543, 3)" in ended.stderr
    body = (
        "import sys; sys.argv = ['x', *sys.argv[1:]]; exec(open('docs/exported_model.py').read())\n"
    )
    body += "sys.exit(bool({'torch', 'data', 'models', 'training'} & set(sys.modules)))"
    assert run_script("-c", body, file, tmp_path / "landmarks.npy").returncode == 0, (
        "numpy and onnxruntime alone"
    )


def test_the_example_of_an_exported_model_refuses_in_one_line(run_script, tmp_path):
    np.save(tmp_path / "short.npy", np.zeros((5, 225)))
    for words, message in (
        ([], "usage: python docs/exported_model.py"),
        (["x.onnx"], "usage: "),
        (["x.onnx", tmp_path / "short.npy"], "error: "),
    ):
        ended = run_script("docs/exported_model.py", *words)
        assert ended.returncode == 1 and ended.stderr.startswith(message)
        assert ended.stderr.count("\n") == 1


def test_each_script_tells_its_own_default_corpus_and_folder(run_main, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")

    def entry(script, option: str) -> str:
        shown = run_main(script.main, "--help").stdout
        words = " ".join(shown.split("options:", 1)[1].split())  # a line has 100 columns at most
        return re.search(rf" --{option} DIR (.*?\(default: .*?\))", words)[1]

    for script in (train_teacher, overfit_test):
        assert "(default: the built-in simulated corpus)" in entry(script, "data_dir")
    assert "(default: that of the teacher; without" in entry(distill_student, "data_dir")
    assert "fine-tune" not in entry(overfit_test, "output_dir")
    assert "beside it with _finetune behind the name" in entry(train_teacher, "output_dir")


def test_a_mistyped_option_gives_one_line(run_script):
    result = run_script("distill_student.py", "--teachr", "x")
    assert (
        result.returncode == 2
        and result.stderr.count("\n") == 1
        and "did you mean --teacher?" in result.stderr
    )


def test_impossible_options_are_refused(finished_run, tmp_path):
    best = finished_run / "best_model.pth"
    cases = (
        (distill_student, ("--data_dir", "x"), UsageError, "no teacher: give --teacher"),
        (distill_student, ("--teacher", tmp_path / "no.pth"), DataError, "no.pth does not exist"),
        (
            distill_student,
            ("--soft_targets", tmp_path / "no"),
            DataError,
            "no does not exist: expected a folder made by",
        ),
        (
            export_soft_targets,
            ("--checkpoint", best, "--output_dir", finished_run),
            UsageError,
            "already exists",
        ),
        (
            export_soft_targets,
            ("--checkpoint", best, "--output_dir", tmp_path / "soft", "--seed", 5),
            UsageError,
            "--seed has no effect without --views",
        ),
        (
            distill_student,
            ("--soft_weight", 0, "--temperature", 9, "--data_dir", tmp_path / "no"),
            UsageError,
            "--temperature has no effect with --soft_weight 0",
        ),
        (export_model, ("--checkpoint", best, "--output", best), UsageError, "is the checkpoint"),
        (
            export_model,
            ("--checkpoint", best, "--format", "torchscript", "--int8", "--output", "x"),
            UsageError,
            "--int8",
        ),
    )
    for script, words, kind, message in cases:
        with pytest.raises(kind, match=message) as error:
            script.main([str(word) for word in words])
        assert "\n" not in str(error.value)


def test_after_a_signal_it_prints_how_to_continue(run_script, finished_run, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump({"model": MODEL}), encoding="utf-8")
    words = [
        "--teacher",
        str(finished_run / "best_model.pth"),
        "--config",
        str(config),
        "--epochs",
        "500",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    body = (
        "import os, signal, sys, threading, time, distill_student\n"
        "from errors import run_script\n"
        "def stop():\n"
        f"    log = {str(tmp_path / 'run' / 'metrics.jsonl')!r}\n"
        "    while not (os.path.exists(log) and os.path.getsize(log)): time.sleep(0.05)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=stop, daemon=True).start()\n"
        f"run_script(lambda: distill_student.main({words!r}))"
    )
    result = run_script("-c", body)
    assert result.returncode == 143, result.stderr
    assert (
        f"python distill_student.py --resume auto --output_dir {tmp_path / 'run'}" in result.stderr
    )
    again = run_script(
        "distill_student.py", "--resume", "auto", "--output_dir", tmp_path / "run", "--dry_run"
    )
    assert again.returncode == 0 and "continue from" in again.stdout
    assert (
        json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["epoch"] == 1
    )
