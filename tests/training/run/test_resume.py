"""How a run starts: fresh, continued or fine-tuned, from which checkpoint and why."""

from pathlib import Path

import pytest

from errors import DataError, UsageError
from models.checkpoint import load_checkpoint, save_checkpoint
from training.config import Config
from training.resume import CONTINUE, FINE_TUNE, FRESH, Start, find_checkpoint, plan_start

TRAINED = {
    "training": {"epochs": 20, "learning_rate": 0.001, "data_dir": "corpus-a"},
    "model": {"lstm_hidden": 64},
}


def save(path: Path, **changes) -> Path:
    path.parent.mkdir(exist_ok=True)
    config = Config().updated(TRAINED).updated({"training": {"output_dir": str(path.parent)}})
    corpus = {
        "name": "a",
        "path": "corpus-a",
        "fingerprint": "abc",
        "simulated": False,
        "composed": False,
    }
    save_checkpoint(
        path,
        {
            "model": {},
            "vocabulary": ["A"],
            "config": config.to_dict(),
            "corpus": corpus,
            "decoder": {"steps_per_gloss": 3.0},
            "training": {"progress": {}, "stopping": {}, "optimizer": {}, "scaler": {}},
            **changes,
        },
    )
    return path


def training_state(epoch: int, group: int = 0) -> dict:
    progress = {"epoch": epoch, "group": group}
    return {"progress": progress, "stopping": {}, "optimizer": {}, "scaler": {}}


def start_of(resume: str | None, given: dict) -> Start:
    """How a run starts on the corpus of the checkpoint that `save` writes."""
    return plan_start(resume, given).decide("abc")


@pytest.fixture
def last(tmp_path) -> Path:
    return save(tmp_path / "run" / "last.pth")


def test_without_resume_a_start_is_fresh(tmp_path, last):
    start = start_of(None, {"training": {"output_dir": str(last.parent)}})
    assert (start.kind, start.checkpoint) == (FRESH, None)
    assert start.config.training.epochs == 150, (
        "without --resume a checkpoint's settings do not count"
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"training": {"epochs": 20}},
        {"training": {"learning_rate": "1e-3"}, "model": {"lstm_hidden": 64}},
        {
            "training": {
                "decoder": "greedy",
                "device": "cpu",
                "data_dir": "elsewhere",
                "deterministic": True,
            }
        },
    ],
)
def test_a_run_continues_when_no_setting_that_affects_training_changed(last, given):
    start = start_of(str(last), given)
    assert (start.kind, start.path, start.reason) == (
        CONTINUE,
        last,
        "no setting that shapes training was changed",
    )
    assert start.config.training.learning_rate == 0.001 and start.config.model.lstm_hidden == 64
    assert start.config.training.output_dir == str(last.parent)
    for key, value in given.get("training", {}).items():
        if key != "learning_rate":
            assert getattr(start.config.training, key) == value


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"training": {"learning_rate": 5e-5, "epochs": 50}},
            "--epochs differs from the checkpoint's (20, now 50); "
            "--learning_rate differs from the checkpoint's (0.001, now 5e-05)",
        ),
        ({"training": {"batch_size": 4}}, "--batch_size differs from the checkpoint's (8, now 4)"),
        (
            {"training": {"optimizer": "adam"}},
            "--optimizer differs from the checkpoint's (adamw, now adam)",
        ),
        ({"training": {"seed": 1}}, "--seed differs from the checkpoint's (0, now 1)"),
        (
            {"training": {"max_grad_norm": 2.0}},
            "--max_grad_norm differs from the checkpoint's (1.0, now 2.0)",
        ),
        ({"model": {"dropout": 0.5}}, "--dropout differs from the checkpoint's (0.3, now 0.5)"),
        (
            {"augmentation": {"enabled": False}, "training": {"part_mask": 0.0}},
            "training.part_mask differs from the checkpoint's (0.05, now 0.0); "
            "--augment differs from the checkpoint's (True, now False)",
        ),
    ],
)
def test_a_changed_setting_that_affects_training_makes_a_fine_tune_and_is_named(
    last, given, reason
):
    start = start_of(str(last), given)
    assert start.kind == FINE_TUNE
    assert start.reason == reason
    folder = start.config.training.output_dir
    assert folder == f"{last.parent}_finetune"
    assert str(start) == (
        f"new run: a fine-tune in {folder}, not a continuation: {reason}; it starts with the "
        f"weights of {last}"
    )
    assert start.config.training.data_dir == "corpus-a", (
        "settings that are not given come from the checkpoint"
    )


def test_a_given_setting_is_checked_together_with_the_checkpoints_settings(run_copy):
    # above the default learning rate, below the checkpoint's
    overrides = {"training": {"min_learning_rate": 0.005}}
    assert start_of(str(run_copy / "last.pth"), overrides).config.training.learning_rate == 0.01


def test_a_given_output_folder_is_kept(last):
    for more in ({}, {"epochs": 3}):
        start = start_of(str(last), {"training": {"output_dir": "mine", **more}})
        assert start.config.training.output_dir == "mine"


def test_a_fine_tune_never_uses_the_folder_of_its_checkpoint(run_copy):
    given = {"training": {"output_dir": str(run_copy), "learning_rate": 1e-3}}
    start = start_of(str(run_copy / "best_model.pth"), given)
    assert Path(start.config.training.output_dir) == run_copy.with_name("copy_finetune")


def test_a_fine_tune_has_a_flat_start_only_if_it_is_given(last):
    assert start_of(None, {}).config.training.flat_start_epochs == 4
    assert start_of(str(last), {}).config.training.flat_start_epochs == 4, "it continues exactly"
    tuned = start_of(str(last), {"training": {"seed": 1}}).config.training
    assert (tuned.flat_start_epochs, tuned.learning_rate) == (0, 0.001)
    given = {"training": {"seed": 1, "flat_start_epochs": 2}}
    assert start_of(str(last), given).config.training.flat_start_epochs == 2
    started = {"progress": {"history": []}, "stopping": {}, "optimizer": {}, "scaler": {}}
    save(last, training=started)  # a run that has not finished an epoch
    untrained = start_of(str(last), {"training": {"seed": 1}}).config.training
    assert untrained.flat_start_epochs == 4


def test_a_run_of_an_earlier_version_continues_without_a_flat_start(last):
    config = Config().updated(TRAINED).to_dict()
    del config["training"]["flat_start_epochs"]
    save(last, config=config)
    start = start_of(str(last), {})
    assert (start.kind, start.config.training.flat_start_epochs) == (CONTINUE, 0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"lstm_hidden": 128}, "model.lstm_hidden is 64 in the checkpoint and cannot become 128"),
        (
            {"inception_widths": [64, 64]},
            r"model.inception_widths is \[768, 1024\] in the checkpoint",
        ),
        (
            {"face_subset": "mouth"},
            "model.face_subset is mouth_brows_eyes in the checkpoint and cannot become mouth",
        ),
    ],
)
def test_other_model_sizes_are_refused(last, model, message):
    with pytest.raises(UsageError, match=message):
        plan_start(str(last), {"model": model})


def test_another_corpus_makes_a_fine_tune(last):
    plan = plan_start(str(last), {"training": {"data_dir": "elsewhere"}})
    assert plan.decide("abc", Path("elsewhere")).kind == CONTINUE
    other = plan.decide("xyz", Path("elsewhere"))
    assert (
        other.kind == FINE_TUNE
        and "corpus is not the one" in other.reason
        and "corpus-a" in other.reason
    )
    assert other.checkpoint is plan.checkpoint


@pytest.mark.parametrize("name", ["auto", "last", "best"])
@pytest.mark.parametrize("given", [{}, {"data_dir": "./corpus-a", "patience": 3}])
def test_a_changed_corpus_makes_no_fine_tune_of_a_run_that_is_continued_by_name(last, name, given):
    """A job that is started again would begin from epoch 1 each time."""
    save(last.with_name("best_model.pth"))
    overrides = {"training": {"output_dir": str(last.parent), **given}}
    plan = plan_start(name, overrides)
    assert plan.decide("abc", Path("corpus-a")).kind == CONTINUE
    with pytest.raises(DataError) as refused:
        plan.decide("xyz", Path("corpus-a"), ["dev.csv"])
    assert str(refused.value) == (
        f"--resume {name}: the corpus a (corpus-a) has changed since {plan.path} was written (not "
        "as in corpus.json: dev.csv): restore it, or start a fine-tune with --resume "
        f"{last.parent / 'best_model.pth'} --data_dir corpus-a"
    )
    with pytest.raises(DataError, match=r"its corpus\.json is another one"):
        plan.decide("xyz", Path("corpus-a"))
    moved = {"training": {**overrides["training"], "data_dir": "another"}}
    assert plan_start(name, moved).decide("xyz", Path("another")).kind == FINE_TUNE


def test_a_changed_corpus_makes_a_fine_tune_of_a_checkpoint_that_is_given_as_a_file(last):
    start = plan_start(str(last), {}).decide("xyz", Path("corpus-a"), ["dev.csv"])
    assert start.kind == FINE_TUNE
    assert start.reason == (
        "the corpus a (corpus-a) has changed since the checkpoint was written (not as in "
        "corpus.json: dev.csv)"
    )


def test_last_best_and_auto_are_files_in_the_output_folder(tmp_path, last):
    best = save(last.with_name("best_model.pth"), vocabulary=["BEST"])
    folder = {"training": {"output_dir": str(last.parent)}}
    assert start_of("last", folder).path == last
    assert start_of("best", folder).path == best
    assert start_of("best", folder).checkpoint["vocabulary"] == ["BEST"]
    assert start_of("auto", folder).path == last
    with pytest.raises(DataError, match=r"nowhere.*last\.pth does not exist"):
        plan_start("last", {"training": {"output_dir": str(tmp_path / "nowhere")}})


def test_auto_takes_the_newest_good_checkpoint_and_names_the_damaged_ones(tmp_path, capsys):
    last, previous, best = (
        tmp_path / name for name in ("last.pth", "previous.pth", "best_model.pth")
    )
    save(best, training=training_state(epoch=2))
    save(previous, training=training_state(epoch=4))
    save(last, training=training_state(epoch=5))
    assert find_checkpoint("auto", tmp_path)[1] == last
    last.write_bytes(b"gone")
    assert find_checkpoint("auto", tmp_path)[1] == previous
    assert "last.pth is damaged" in capsys.readouterr().out
    save(best, training=training_state(epoch=6))
    assert find_checkpoint("auto", tmp_path)[1] == best, "best_model.pth is newer than previous.pth"
    previous.unlink()
    best.write_bytes(b"gone, too")
    assert find_checkpoint("auto", tmp_path) is None
    output = capsys.readouterr().out
    assert "last.pth is damaged" in output and "best_model.pth is damaged" in output


@pytest.mark.parametrize("newer", ["previous.pth", "best_model.pth"])
def test_auto_takes_the_checkpoint_with_more_updates_of_the_same_epoch(tmp_path, newer):
    (tmp_path / "last.pth").write_bytes(b"gone")
    for name in ("previous.pth", "best_model.pth"):
        save(tmp_path / name, training=training_state(epoch=4, group=7 if name == newer else 2))
    assert find_checkpoint("auto", tmp_path)[1] == tmp_path / newer


def test_auto_without_a_checkpoint_is_a_fresh_start(tmp_path):
    start = start_of("auto", {"training": {"output_dir": str(tmp_path / "nothing"), "epochs": 4}})
    assert start.kind == FRESH and start.config.training.epochs == 4
    assert str(tmp_path / "nothing") in start.reason


def test_auto_skips_a_damaged_checkpoint_and_names_it(last, capsys):
    best = save(last.with_name("best_model.pth"))
    last.write_bytes(last.read_bytes()[:-100])
    checkpoint, path = find_checkpoint("auto", last.parent)
    assert path == best and checkpoint["vocabulary"] == ["A"]
    assert "last.pth is damaged" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"last\.pth is damaged"):
        find_checkpoint("last", last.parent)


@pytest.mark.parametrize("given", [{}, {"epochs": 3}])
def test_auto_does_not_train_something_else_in_the_folder_of_a_damaged_run(last, given):
    """Without its corpus, a fresh start would be on the built-in one, with the default model."""
    last.write_bytes(b"gone")
    (last.parent / "config.yaml").write_text("training: {epochs: 3}")
    overrides = {"training": {"output_dir": str(last.parent), **given}}
    with pytest.raises(UsageError, match=r"no usable checkpoint; --config .*config\.yaml without"):
        plan_start("auto", overrides)
    for further in ({"model": {}}, {"training": {**overrides["training"], "data_dir": "corpus"}}):
        assert start_of("auto", {**overrides, **further}).kind == FRESH


def test_auto_with_only_damaged_checkpoints_starts_fresh_and_says_why(last, capsys):
    last.write_bytes(b"gone")
    start = start_of("auto", {"training": {"output_dir": str(last.parent)}})
    assert start.kind == FRESH and "no usable checkpoint" in start.reason
    assert "last.pth is damaged" in capsys.readouterr().out


def test_a_configuration_of_another_version_is_refused(last):
    config = Config().to_dict()
    config["training"]["momentum"] = 0.9
    save(last, config=config)
    with pytest.raises(
        DataError,
        match=r"last\.pth has a configuration that this version does not know: .*momentum",
    ):
        plan_start(str(last), {})


def test_a_learning_rate_below_the_checkpoints_minimum_lowers_the_minimum(tmp_path):
    trained = {**TRAINED, "training": {**TRAINED["training"], "min_learning_rate": 1e-4}}
    config = Config().updated(trained).updated({"training": {"output_dir": str(tmp_path / "run")}})
    path = save(tmp_path / "run" / "last.pth", config=config.to_dict())
    start = start_of(str(path), {"training": {"learning_rate": 5e-5}})
    assert start.config.training.min_learning_rate == pytest.approx(5e-6), (
        "a tenth of the learning rate, as before"
    )
    assert "min_learning_rate differs from the checkpoint's (0.0001, now " in start.reason
    with pytest.raises(UsageError, match=r"min_learning_rate 0\.001 is above learning_rate"):
        plan_start(str(path), {"training": {"learning_rate": 5e-5, "min_learning_rate": 1e-3}})


def test_a_folder_is_no_checkpoint(last):
    save(last.with_name("best_model.pth"))
    folder = last.parent
    with pytest.raises(UsageError) as refused:
        plan_start(str(folder), {})
    assert str(refused.value) == (
        f"--resume {folder} is a folder: to continue its run: --resume auto --output_dir {folder}; "
        f"to fine-tune from it: --resume {folder / 'best_model.pth'}"
    )
    with pytest.raises(DataError, match=r"is a folder: expected .*run/best_model\.pth$"):
        load_checkpoint(folder)  # as --checkpoint and --teacher do


def test_auto_in_a_mistyped_folder_is_no_fresh_start(tmp_path):
    """Nothing but the folder is given: a stopped run is meant, and it is not there."""
    given = {"training": {"output_dir": str(tmp_path / "typo")}}
    with pytest.raises(UsageError, match=r"typo has no usable checkpoint; check --output_dir"):
        plan_start("auto", given)
    given["training"]["data_dir"] = "corpus"  # as a job gives it that may be started again
    assert plan_start("auto", given).checkpoint is None
