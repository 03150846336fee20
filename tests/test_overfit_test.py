"""The command line of overfit_test.py: exit codes, files, messages."""

import json
import re

import pytest
import yaml

import overfit_test
import progress_bar
from errors import DataError, UsageError
from settings import given_settings, read_overrides
from training.config import Config
from training.overfit_check import unused_settings

FILES = {
    "result.json",
    "hypotheses.csv",
    "config.yaml",
    "environment.json",
    "report.html",
}


@pytest.fixture
def arguments(tiny_settings, tmp_path) -> list[str]:
    """The options of a check that memorises within seconds."""
    tiny_settings["training"] |= {
        "epochs": 300,
        "accumulation_steps": 1,
        "weight_decay": 0.0,
        "warmup_epochs": 5.0,
    }
    tiny_settings["model"] |= {
        "hand_width": 32,
        "inception_widths": [48, 48],
        "conformer_width": 32,
    }
    tiny_settings["augmentation"] = {"enabled": False}
    path = tmp_path / "overfit.yaml"
    path.write_text(yaml.safe_dump(tiny_settings))
    return ["--config", str(path)]


def test_a_teacher_that_memorises_has_exit_code_0(arguments, tmp_path, capsys):
    assert overfit_test.main(arguments) == 0
    output = capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["reached"] is True and result["wer"] == 0 and result["samples"] == 5
    assert result["epochs_run"] < 300 and result["epochs_run"] % 5 == 0
    assert f"memorised: 0.0 % WER after {result['epochs_run']} epochs" in output
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (
        f"Memorised: 0.0 % WER after {result['epochs_run']} epochs" in page
        and "<b>0.00 %</b>" in page
    )
    rows = [line.split() for line in output.splitlines() if line[:5].strip().isdigit()]
    assert [int(row[0]) for row in rows] == list(range(5, result["epochs_run"] + 1, 5))
    wers = [float(row[2]) for row in rows]
    assert wers[-3:] == [0, 0, 0], "0 % WER in three checks in a row"
    assert all(set(wers[i : i + 3]) != {0.0} for i in range(len(wers) - 3)), (
        "the run ends after the third check"
    )
    hypotheses = [
        line.split("|")
        for line in (tmp_path / "run" / "hypotheses.csv").read_text().splitlines()[1:]
    ]
    assert len(hypotheses) == 5 and all(row[2] == row[3] for row in hypotheses)


def test_a_teacher_that_does_not_memorise_has_exit_code_1_and_gets_hints(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    assert overfit_test.main([*arguments, "--epochs", "3", "--num_samples", "2"]) == 1
    output, err = capsys.readouterr()
    assert re.search(r"^overfit: 2 of 3 epochs, loss \d+\.\d\d, \d+ s left$", err, re.MULTILINE)
    assert "not memorised: " in output and "after 3 epochs" in output
    for word in ("blank share", "gradient norm", "data"):
        assert f"  - {word}" in output
    assert "Not memorised: " in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["reached"] is False and result["samples"] == 2 and result["epochs_run"] == 3


def test_an_earlier_check_is_moved_aside(arguments, tmp_path, capsys):
    for _ in range(2):
        overfit_test.main([*arguments, "--epochs", "1"])
    assert (tmp_path / "run.earlier-1" / "result.json").exists()


def test_sentences_that_cannot_be_aligned_are_skipped(arguments, make_corpus, tmp_path):
    train = [("SUN SUN RAIN", 8), "RAIN SUN", "SUN", "WIND RAIN"]
    corpus = make_corpus(tmp_path / "corpus", {"train": train})
    options = [*arguments, "--data_dir", str(corpus), "--epochs", "1"]
    overfit_test.main([*options, "--num_samples", "2"])
    rows = (tmp_path / "run" / "hypotheses.csv").read_text().splitlines()[1:]
    assert [row.split("|")[0] for row in rows] == ["train-01", "train-02"]
    with pytest.raises(
        DataError, match="only 3 train sentences can be trained on, --num_samples is 4"
    ):
        overfit_test.main([*options, "--num_samples", "4"])


def test_settings_come_from_overfit_yaml_unless_given(monkeypatch, tmp_path):
    calls = []

    def record_and_stop(config, num_samples):
        calls.append((config, num_samples))
        raise UsageError("enough")

    monkeypatch.setattr("training.overfit_check.run_overfit_check", record_and_stop)
    (spelled_out,) = (
        line.split()[2:] for line in overfit_test.__doc__.splitlines() if "--warmup_epochs" in line
    )
    changed = "--num_samples 7 --learning_rate 0.5 --output_dir x --seed 4 --batch_size 3"
    changed += " --dropout 0.2 --weight_decay 0.3 --warmup_epochs 9"
    for argv in ([], spelled_out, changed.split()):
        with pytest.raises(UsageError, match="enough"):
            overfit_test.main(argv)
    plain = Config().updated(read_overrides(overfit_test.DEFAULT_CONFIG, Config))
    assert calls[0] == (plain, 5)
    assert calls[1] == calls[0], "the command in the help spells the defaults out"
    training = {"learning_rate": 0.5, "output_dir": "x", "seed": 4, "batch_size": 3}
    training |= {"weight_decay": 0.3, "warmup_epochs": 9.0}
    assert calls[2] == (plain.updated({"training": training, "model": {"dropout": 0.2}}), 7)


def test_settings_without_an_effect_are_named_and_not_recorded(
    arguments, tiny_settings, tmp_path, capsys
):
    """A configuration that is shared with a training can be used all the same."""
    tiny_settings["training"]["epochs"] = 1
    path = tmp_path / "shared.yaml"
    without = {"accumulation_steps": 2, "patience": 3, "part_mask": 0.2, "frames_per_batch": 99}
    tiny_settings["training"] |= without
    path.write_text(yaml.safe_dump(tiny_settings))
    overfit_test.main(["--config", str(path)])
    names = [f"training.{key}" for key in ("decoder", *without)]
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: -")]
    before, _, found = note.partition(" no effect in this check: ")
    assert before == f"note: --config {path}:"
    assert sorted(found.split(", ")) == sorted([*names, "augmentation"])
    recorded = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert recorded == json.loads((tmp_path / "run" / "result.json").read_text())["config"]
    assert recorded["training"]["batch_size"] == 5 and "augmentation" not in recorded
    assert not {*without, "decoder"} & set(recorded["training"])
    overfit_test.main(["--config", str(tmp_path / "run" / "config.yaml")])
    assert "no effect" not in capsys.readouterr().out


def test_every_default_and_every_option_has_an_effect():
    assert unused_settings(read_overrides(overfit_test.DEFAULT_CONFIG, Config)) == []
    given = {option: None for option in overfit_test.OPTIONS}
    assert unused_settings(given_settings(given, Config)) == []


def test_no_samples_are_refused():
    with pytest.raises(UsageError, match="--num_samples 0: expected 1 or more"):
        overfit_test.main(["--num_samples", "0"])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--num_sample", "5"], 2, "unknown option --num_sample 5: did you mean --num_samples?"),
        (["--data_dir", "does/not/exist", "--device", "cpu"], 3, "does/not/exist does not exist"),
    ],
)
def test_errors_are_one_line(run_main, options, code, message):
    result = run_main(overfit_test.main, *options)
    assert result.returncode == code
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_the_help_is_that_of_the_check_alone():
    text = " ".join(overfit_test.make_parser().format_help().split())
    assert (
        "--output_dir DIR folder of the results; an earlier check in it is moved aside (default: "
        in text
    )
    assert "corpus folder (default: the built-in simulated corpus)" in text
    assert "student" not in text and "fine-tune" not in text
