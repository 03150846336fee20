"""Where a run stands: what an epoch leaves to the next, and what a checkpoint restores."""

import dataclasses

import pytest
import torch

from tests.training.conftest import prepare_trainer
from training.early_stopping import EarlyStopping
from training.progress import TrainingProgress


def test_the_next_epoch_starts_with_counts_of_its_own():
    event = {"kind": "skipped", "group": 1, "loss": None, "sentences": []}
    kept = {
        "bad_updates": 2,
        "recent_losses": [3.0, 2.0],
        "loaded_wer": 40.0,
        "history": [{"epoch": 1}],
    }
    progress = TrainingProgress(
        epoch=2,
        group=7,
        loss_sum=9.0,
        loss_sentences=4,
        frames=300,
        seconds=2.0,
        total_seconds=5.0,
        total_frames=1000,
        skipped_updates=3,
        loss_spikes=1,
        events=[event],
        gradient_norms=[1.0, 2.0],
        hypotheses={5: [1, 2]},
        **kept,
    )
    progress.start_next_epoch()
    expected = TrainingProgress(epoch=3, total_seconds=7.0, total_frames=1300, **kept)
    assert dataclasses.asdict(progress) == dataclasses.asdict(expected)


@pytest.mark.parametrize(
    ("done", "patience", "finished"), [(3, 3, False), (4, 3, False), (5, 3, True), (4, 2, True)]
)
def test_a_run_that_stopped_early_is_not_finished_while_epochs_and_patience_are_left(
    tiny_settings, done, patience, finished
):
    """It stopped after two epochs without a better WER. All in all it has five epochs."""
    trainer = prepare_trainer(tiny_settings, epochs=5, patience=patience)
    trainer.progress.epoch, trainer.progress.finished = done + 1, True
    trainer.stopping = EarlyStopping(2, 50.0, done - 2, epochs_since_best=2)
    trainer.restore(trainer.state())
    assert trainer.progress.finished is finished and trainer.stopping.patience == patience


def test_a_continued_run_has_the_scale_of_its_loss(tiny_settings):
    """As fp16 needs it, which has a scaler."""
    first, continued = (prepare_trainer(tiny_settings) for _ in range(2))
    for trainer, scale in ((first, 128.0), (continued, 65536.0)):
        trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=True)
    continued.restore(first.state())
    assert continued.precision.scaler.get_scale() == 128.0
