"""Losses and gradients that are not finite: updates are skipped, and ten in a row end the run."""

import json
import math
from dataclasses import replace

import pytest
import torch

import training.trainer
from decoding.scoring import Score
from errors import DivergenceError
from models.checkpoint import load_checkpoint
from tests.training.conftest import (
    copy_parameters,
    make_losses_nan,
    plain_batches,
    prepare_trainer,
    run_update,
)
from training.config import TrainingConfig
from training.divergence import MAX_BAD_UPDATES, refuse_lost_model
from training.validation import ValidationResult


def test_an_update_whose_loss_is_not_finite_is_skipped_and_its_sentences_are_named(
    tiny_settings, capsys
):
    trainer = prepare_trainer(tiny_settings)
    make_losses_nan(trainer, {0})
    before = copy_parameters(trainer)
    (batch,) = plain_batches(trainer, [[3, 1]])
    run_update(trainer, [batch])
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert trainer.progress.bad_updates == 1
    assert (
        "update skipped" in (output := capsys.readouterr().out) and "train-03, train-01" in output
    )
    run_update(trainer, [batch])
    assert trainer.progress.bad_updates == 0
    assert not all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_an_update_whose_gradient_is_not_finite_is_skipped_too(tiny_settings, capsys):
    trainer = prepare_trainer(tiny_settings)
    before = copy_parameters(trainer)
    trainer.model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    run_update(trainer, plain_batches(trainer, [[3, 1]]))
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert (len(trainer.progress.gradient_norms), trainer.progress.skipped_updates) == (0, 1)
    assert "train-03, train-01" in capsys.readouterr().out


def test_a_skipped_update_changes_neither_the_mean_loss_nor_the_learning_rate(
    tiny_settings,
):
    rates = []
    (batch,) = plain_batches(prepare_trainer(tiny_settings), [[3, 1]])
    for bad in (set(), {1, 2}):
        trainer = prepare_trainer(tiny_settings, epochs=5, warmup_epochs=3.0)
        make_losses_nan(trainer, bad)
        seen = []
        for group in range(5):
            trainer.progress.group = group
            run_update(trainer, [batch])
            seen.append(trainer.optimizer.param_groups[0]["lr"])
        rates.append(seen)
        assert len(trainer.progress.gradient_norms) == 5 - len(
            bad
        ) and trainer.progress.skipped_updates == len(bad)
        assert trainer.progress.loss_sentences == 2 * (5 - len(bad)) and math.isfinite(
            trainer.progress.loss_sum
        )
    assert len(set(rates[0])) == 5 and rates[0] == rates[1], (
        "the learning rate depends on the position in the run"
    )


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_a_skipped_update_does_not_change_the_optimiser(tiny_settings, optimizer):
    """Weights, both moments and the step of the bias correction are as without that update."""
    states = []
    for bad in (set(), {1}):
        trainer = prepare_trainer(tiny_settings, optimizer=optimizer, part_mask=0.0)
        # No dropout and fixed normalisation: updates differ in the weights only
        trainer.model.eval()
        (batch,) = plain_batches(trainer, [[3, 1]])
        make_losses_nan(trainer, bad)
        for _ in range(3 + len(bad)):
            run_update(trainer, [batch])
        assert trainer.progress.skipped_updates == len(bad)
        states.append((copy_parameters(trainer), trainer.optimizer.state_dict()["state"]))
    for name, weight in states[0][0].items():
        assert torch.equal(states[1][0][name], weight), name
    for first, second in zip(states[0][1].values(), states[1][1].values(), strict=True):
        assert float(first["step"]) == float(second["step"]) == 3
        assert torch.equal(first["exp_avg"], second["exp_avg"]) and torch.equal(
            first["exp_avg_sq"], second["exp_avg_sq"]
        )


def test_ten_skipped_updates_in_a_row_end_the_run(tiny_settings, tmp_path):
    trainer = prepare_trainer(tiny_settings, accumulation_steps=2)
    (tmp_path / "run").mkdir()
    batches = plain_batches(trainer, [[0, 1], [4]])
    make_losses_nan(trainer, {*range(0, 18, 2), *range(20, 60, 2)})
    for _ in range(19):  # nine bad updates, a good one, nine bad ones
        run_update(trainer, batches)
    with pytest.raises(DivergenceError, match=f"{MAX_BAD_UPDATES} updates in a row") as error:
        run_update(trainer, batches)
    assert error.value.exit_code == 4 and MAX_BAD_UPDATES == 10
    assert f"{tmp_path / 'run' / 'last.pth'} has the last good state" in str(error.value)
    dump = torch.load(tmp_path / "run" / "diverged_batch.pth", weights_only=True)
    assert [part["ids"] for part in dump] == [["train-00", "train-01"], ["train-04"]]
    for part, batch in zip(dump, batches, strict=True):
        assert torch.equal(part["features"], batch.features) and torch.equal(
            part["lengths"], batch.lengths
        )
        assert part["classes"] == [trainer.train.targets[index] for index in batch.indices]
    assert all(math.isnan(loss) for loss in dump[0]["losses"]) and math.isfinite(
        dump[1]["losses"][0]
    )


def test_a_run_that_diverges_keeps_its_last_good_state_which_can_be_fine_tuned(
    tiny_settings, execute_run, tmp_path
):
    original = training.trainer.Trainer.losses

    def losses_that_become_nan(self, *arguments):
        output, losses = original(self, *arguments)
        return output, losses * math.nan if self.progress.epoch >= 2 else losses

    tiny_settings["training"] |= {"epochs": 20, "patience": 20}
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DivergenceError, match=r"diverged_batch\.pth"),
    ):
        patch.setattr(training.trainer.Trainer, "losses", losses_that_become_nan)
        execute_run(tiny_settings)
    state = load_checkpoint(tmp_path / "run" / "last.pth")
    history = state["training"]["progress"]["history"]
    assert [row["skipped_updates"] for row in history][:3] == [0, 2, 2], (
        "epochs in which every update was skipped"
    )
    assert all(math.isfinite(row["dev_wer"]) for row in history)
    assert [event["kind"] for event in history[1]["events"]] == ["skipped", "skipped"]
    named = [id for event in history[1]["events"] for id, _ in event["sentences"]]
    assert sorted(named) == sorted(f"train-{number:02d}" for number in range(12))
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[1]["train_loss"] is None and rows[1]["skipped_updates"] == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    _, result = execute_run(
        {"training": {"learning_rate": 0.001, "epochs": 1}}, tmp_path / "run" / "last.pth"
    )
    assert math.isfinite(result["best_dev_wer"])


def test_a_lost_model_ends_the_run_and_replaces_neither_the_best_nor_the_last_model(
    tiny_settings, execute_run, tmp_path
):
    """Its hypotheses are empty: 100 % WER, which a first epoch can exceed."""
    original = training.trainer.Trainer.train_epoch

    def lose_the_model(self, signals):
        original(self, signals)
        if self.progress.epoch == 2:
            self.stopping.best_wer = 118.0
            self._writer.wait()
            kept.update({name: (tmp_path / "run" / name).read_bytes() for name in names})
            self.model.head.weight.data.fill_(math.nan)

    kept, names = {}, ("best_model.pth", "last.pth")
    tiny_settings["training"]["epochs"] = 3
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DivergenceError, match=r"epoch 2: .* in any dev sentence: .* \(now 0\.0"),
    ):
        patch.setattr(training.trainer.Trainer, "train_epoch", lose_the_model)
        execute_run(tiny_settings)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names} == kept
    assert load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]["epoch"] == 2


def test_a_run_ends_only_if_every_dev_sentence_with_a_loss_has_no_finite_output():
    some = ValidationResult([[], []], Score(0, 2, 0, 2, 2), math.nan, 1.0, 2, {"not finite": 1})
    without_targets = replace(some, with_targets=0, without_loss={"not finite": 0})
    waited, options = [], TrainingConfig(learning_rate=0.5)
    for found in (some, without_targets):
        refuse_lost_model(found, 1, options, lambda: waited.append(True))
    assert not waited
    with pytest.raises(DivergenceError, match=r"epoch 1: .* --learning_rate \(now 0\.5\)"):
        lost = replace(some, without_loss={"not finite": 2})
        refuse_lost_model(lost, 1, options, lambda: waited.append(True))
    assert waited, "for the checkpoint of the epoch before"


@pytest.mark.parametrize("scaled", [False, True])
def test_an_update_whose_loss_alone_is_not_finite_is_skipped_too(tiny_settings, scaled):
    """The loss overflows and its gradient does not. Device and `record_update` decide alike."""
    trainer = prepare_trainer(tiny_settings)
    trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)
    before, compute = copy_parameters(trainer), trainer.losses

    def losses_with_an_infinite_one(*arguments):
        output, losses = compute(*arguments)
        return output, losses + torch.tensor([0.0, math.inf])

    trainer.losses = losses_with_an_infinite_one
    (batch,) = plain_batches(trainer, [[3, 1]])
    run_update(trainer, [batch])
    assert all(p.grad.isfinite().all() for p in trainer.model.parameters())
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert trainer.progress.skipped_updates == 1
    trainer.losses = compute
    run_update(trainer, [batch])
    assert not all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert trainer.progress.skipped_updates == 1


def test_a_scaler_changes_nothing_but_the_scale(tiny_settings):
    """An overflow is skipped and halves the scale; without one the update is that of fp32."""
    weights = []
    for scaled in (False, True):
        trainer = prepare_trainer(tiny_settings)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, enabled=scaled)
        trainer.precision.scaler = scaler
        batches = plain_batches(trainer, [[3, 1]])
        before = copy_parameters(trainer)
        if scaled:
            scaler.scale(torch.zeros(()))  # makes the scale, which is then too large
            scaler._scale.fill_(3e38)
            run_update(trainer, batches)
            assert trainer.progress.skipped_updates == 1 and scaler.get_scale() < 2e38
            now = dict(trainer.model.named_parameters())
            assert all(torch.equal(before[name], p) for name, p in now.items())
            scaler._scale.fill_(1024.0)
        run_update(trainer, batches)
        weights.append(copy_parameters(trainer))
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, msg=name)
