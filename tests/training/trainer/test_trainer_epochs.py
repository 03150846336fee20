"""Epochs: the model learns, and each epoch's row has the right numbers."""

from types import SimpleNamespace

import pytest
import torch

import training.trainer
from decoding.scoring import Score
from models.checkpoint import load_checkpoint
from tests.training.conftest import make_losses_nan, plain_batches, prepare_trainer, run_update
from training.stop_signals import StopSignals
from training.validation import ValidationResult


def test_the_teacher_learns_the_tiny_corpus(tiny_settings, execute_run):
    tiny_settings["training"] |= {
        "epochs": 40,
        "patience": 40,
        "accumulation_steps": 1,
        "batch_size": 4,
    }
    # With them the loss cannot fall to zero
    tiny_settings["training"] |= {"label_smoothing": 0.0, "part_mask": 0.0}
    tiny_settings["training"] |= {"flat_start_epochs": 0.0}  # with it, one epoch teaches much
    tiny_settings["model"] |= {
        "hand_width": 32,
        "inception_widths": [32, 32],
        "conformer_width": 32,
        "dropout": 0.0,
    }
    tiny_settings["augmentation"] = {"enabled": False}
    run, result = execute_run(tiny_settings)
    history = run.trainer.progress.history
    assert history[0]["dev_wer"] > 70
    assert result["best_dev_wer"] < 35
    assert (
        history[-1]["train_wer"] < 10 and history[-1]["train_loss"] < history[0]["train_loss"] / 10
    )


def test_a_run_with_adam(tiny_settings, execute_run):
    tiny_settings["training"] |= {"optimizer": "adam", "epochs": 2}
    run, _ = execute_run(tiny_settings)
    assert type(run.trainer.optimizer) is torch.optim.Adam
    losses = [row["train_loss"] for row in run.trainer.progress.history]
    assert losses[1] < losses[0]


def test_the_numbers_that_the_diagnosis_uses_by_hand(tiny_settings, monkeypatch):
    trainer = prepare_trainer(tiny_settings)
    trainer.progress.gradient_norms, trainer.progress.hypotheses = [1.0, 9.0, 2.0], {0: [1]}
    result = ValidationResult([["SUN", "RAIN"], [], ["SUN"], []], Score(1, 6, 0, 10, 4), 3.0, 0.75)
    monkeypatch.setattr(training.trainer, "validate", lambda *_, **__: result)
    row = trainer._finish_epoch(StopSignals())
    assert (row["dev_empty_share"], row["dev_gloss_ratio"], row["dev_blank_share"]) == (
        0.5,
        0.3,
        0.75,
    )
    assert row["gradient_norm"] == 2.0 and (row["dev_wer"], row["dev_deletions"]) == (70.0, 6)


def test_the_progress_bars_loss_leaves_skipped_updates_out(tiny_settings):
    trainer = prepare_trainer(tiny_settings)
    make_losses_nan(trainer, {1})
    for indices in ([0, 1], [2, 3, 4]):
        run_update(trainer, plain_batches(trainer, [indices]))
    assert len(trainer.progress.hypotheses) == 5
    assert f"loss {trainer.progress.loss_sum / 2:.2f}," in trainer.progress.status(3, 2) + ","


def test_losses_are_recorded_one_update_late_and_none_is_lost(tiny_settings):
    trainer = prepare_trainer(tiny_settings)
    for group, indices in enumerate([[0, 1], [2, 3], [4]]):
        trainer.progress.group = group
        trainer.update(plain_batches(trainer, [indices]))
        assert (
            len(trainer.progress.gradient_norms) == group
            and len(trainer.progress.recent_losses) == group
        )
    trainer.finish_pending_update()
    assert len(trainer.progress.gradient_norms) == 3 and sorted(trainer.progress.hypotheses) == [
        0,
        1,
        2,
        3,
        4,
    ]
    trainer.finish_pending_update()
    assert len(trainer.progress.gradient_norms) == 3, "each update is recorded once"


def test_a_checkpoint_has_the_losses_of_every_update_before_it(tiny_settings, tmp_path):
    trainer = prepare_trainer(tiny_settings)
    (tmp_path / "run").mkdir()
    trainer.update(plain_batches(trainer, [[0, 1]]))
    trainer.save()
    progress = load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]
    assert (
        len(progress["gradient_norms"]) == 1
        and sorted(progress["hypotheses"]) == [0, 1]
        and progress["loss_sentences"] == 2
    )


@pytest.mark.parametrize(
    ("minutes", "saved"), [(1.0, [3, 6, 9, 12]), (2.0, [5, 10]), (0.1, [*range(1, 13)]), (0.0, [])]
)
def test_the_checkpoints_inside_an_epoch_are_so_many_minutes_apart(
    tiny_settings, monkeypatch, minutes, saved
):
    """Each of the twelve updates takes 25 seconds."""
    now, written = [1000.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr(training.trainer, "time", clock)
    trainer = prepare_trainer(
        tiny_settings, batch_size=1, accumulation_steps=1, checkpoint_minutes=minutes
    )

    def update(_):
        now[0] += 25

    def write(_, state, best):
        written.append(state["training"]["progress"]["group"])

    monkeypatch.setattr(trainer, "update", update)
    monkeypatch.setattr(trainer._writer, "write", write)
    trainer.train_epoch(StopSignals())
    assert written == saved and trainer.progress.group == 12
