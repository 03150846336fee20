"""One update: accumulation, clipping, learning rate, optimiser, dropout, masked parts."""

import math

import pytest
import torch

from data.ctc_targets import pad_targets
from data.pipeline import feature_statistics
from tests.training.conftest import (
    copy_parameters,
    plain_batches,
    prepare_trainer,
    run_update,
)
from training.optimizer import make_optimizer
from training.part_masking import draw_part_masks


@pytest.mark.parametrize(
    ("groups", "whole"), [([range(4), range(4, 8)], range(8)), ([range(5), range(5, 7)], range(7))]
)
def test_accumulated_batches_equal_one_batch(tiny_settings, groups, whole):
    """Every sentence has the same weight, also in a shorter batch. Dropout is off and the
    normalisation is fixed, because both depend on the batch."""
    tiny_settings["model"]["dropout"] = 0.0
    gradients = []
    for plan in (groups, [whole]):
        trainer = prepare_trainer(tiny_settings, max_grad_norm=1e9)
        trainer.model.set_statistics(*feature_statistics(trainer.pipeline, trainer.train.split))
        trainer.model.eval()
        run_update(trainer, plain_batches(trainer, plan))
        gradients.append({name: p.grad for name, p in trainer.model.named_parameters()})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-4, rtol=1e-4, msg=name)
    assert max(float(gradient.abs().max()) for gradient in gradients[1].values()) > 0.1


def test_gradients_are_clipped_before_the_step(tiny_settings):
    trainer = prepare_trainer(tiny_settings, max_grad_norm=0.5)
    run_update(trainer, plain_batches(trainer, [range(4)]))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.model.parameters()))
    assert norm == pytest.approx(0.5, rel=1e-3)


def test_the_norm_before_clipping_is_kept_for_the_epoch(tiny_settings):
    trainer = prepare_trainer(tiny_settings, max_grad_norm=0.01)
    run_update(trainer, plain_batches(trainer, [range(4)]))
    (norm,) = trainer.progress.gradient_norms
    assert norm > 0.1 and trainer.progress.recent_losses == [
        pytest.approx(trainer.progress.loss_sum / 4)
    ]


def test_the_learning_rate_of_each_update_by_hand(tiny_settings):
    trainer = prepare_trainer(
        tiny_settings, epochs=5, warmup_epochs=2.0, learning_rate=1.0, min_learning_rate=0.2
    )
    # Two updates per epoch: four of warm-up, then six from 1 down to 0.2
    expected = [
        0.25,
        0.5,
        0.75,
        1.0,
        *(0.2 + 0.4 * (1 + math.cos(math.pi * step / 5)) for step in range(6)),
    ]
    assert [trainer.plan.learning_rate(step) for step in range(10)] == pytest.approx(expected)
    assert expected[-1] == pytest.approx(0.2)
    for group in (1, 1):
        trainer.progress.epoch, trainer.progress.group = 2, group
        run_update(trainer, plain_batches(trainer, [range(2)]))
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0}


def test_the_learning_rate_follows_the_epochs_when_their_number_of_updates_differs(tiny_settings):
    """Every epoch advances the schedule equally, in as many steps as it has updates."""
    trainer = prepare_trainer(
        tiny_settings, epochs=4, warmup_epochs=2.0, learning_rate=1.0, frames_per_batch=90
    )
    usual, seen = trainer.plan.updates_per_epoch, []
    for epoch in (1, 2, 3, 4):
        groups = len(trainer.plan.begin(epoch))
        for group in (0, groups - 1):
            trainer.progress.epoch, trainer.progress.group = epoch, group
            run_update(trainer, plain_batches(trainer, [[0]]))
            seen.append(trainer.optimizer.param_groups[0]["lr"])
            assert seen[-1] == trainer.plan.learning_rate((epoch - 1 + group / groups) * usual)
    assert seen[0] == pytest.approx(0.5 / usual) and seen[2] == pytest.approx(0.5 + 0.5 / usual)
    assert seen[4] == pytest.approx(1.0) and seen[-1] < 0.2


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)]
)
def test_weight_decay_applies_to_matrices_and_not_to_vectors_or_heads(tiny_settings, name, kind):
    trainer = prepare_trainer(tiny_settings, optimizer=name, weight_decay=0.5, learning_rate=0.1)
    optimizer = make_optimizer(trainer.model, trainer.config.training)
    assert type(optimizer) is kind
    before = copy_parameters(trainer)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in trainer.model.named_parameters():
        if parameter.ndim < 2 or key in ("head.weight", "conv_head.weight"):
            assert torch.equal(parameter, before[key]), key
        elif name == "adamw":  # decoupled: each weight shrinks by the factor 1 - rate * decay
            torch.testing.assert_close(parameter, before[key] * (1 - 0.1 * 0.5))
        else:  # part of the gradient: Adam's first step has the length of the learning rate
            expected = before[key] - 0.1 * before[key].sign() * (before[key].abs() > 1e-4)
            chosen = before[key].abs() > 1e-4
            torch.testing.assert_close(parameter[chosen], expected[chosen], atol=2e-4, rtol=1e-3)


def test_dropout_depends_on_seed_epoch_and_update(tiny_settings):
    """With the same weights and sentences, and without other random draws."""
    losses, weights = [], prepare_trainer(tiny_settings).model.state_dict()
    for seed, epoch, group, noise in (
        (0, 1, 0, 1),
        (0, 1, 0, 2),
        (0, 1, 1, 1),
        (0, 2, 0, 1),
        (1, 1, 0, 1),
    ):
        trainer = prepare_trainer(tiny_settings, seed=seed, part_mask=0.0)
        trainer.model.load_state_dict(weights)
        trainer.progress.epoch, trainer.progress.group = epoch, group
        torch.manual_seed(noise)
        trainer.model.train()
        run_update(trainer, plain_batches(trainer, [range(4)]))
        losses.append(trainer.progress.loss_sum)
    assert losses[0] == losses[1] and len(set(losses[1:])) == 4


def test_the_loss_of_hidden_parts_by_hand(tiny_settings):
    trainer = prepare_trainer(tiny_settings, part_mask=0.5)
    trainer.model.eval()
    (batch,) = plain_batches(trainer, [range(4)])
    targets = pad_targets(trainer.train.targets[:4], trainer.device)
    with torch.no_grad():
        output, losses = trainer.losses(batch, *targets)
        ids = [f"train-0{number}" for number in range(4)]
        visible = torch.from_numpy(draw_part_masks(trainer.config.training, 1, ids))
        expected = trainer.model(batch.features, batch.lengths, batch.detected, visible)
    assert not visible.all()
    assert torch.equal(output.log_probs, expected.log_probs)
    torch.testing.assert_close(losses, trainer.loss(expected, *targets).total)


def test_the_flat_start_is_minimised_over_its_epochs_and_not_recorded(tiny_settings):
    trainer = prepare_trainer(tiny_settings, flat_start_epochs=2.0, part_mask=0.0)
    trainer.model.eval()
    batches = plain_batches(trainer, [range(3), range(3, 7)])
    updates = trainer.plan.updates_per_epoch
    minimised: list[float] = []
    scale = trainer.precision.scaler.scale
    trainer.precision.scaler.scale = lambda loss: minimised.append(loss.item()) or scale(loss)
    assert updates > 1
    for epoch, group, weight in (
        (1, 0, 1 - 1 / (2 * updates)),
        (1, updates - 1, 0.5),
        (2, updates - 1, 0.0),
        (5, 0, 0.0),
    ):
        trainer.progress.epoch, trainer.progress.group = epoch, group
        plain = started = 0.0
        for batch in batches:
            classes = [trainer.train.targets[index] for index in batch.indices]
            targets = pad_targets(classes, trainer.device)
            with torch.no_grad():
                output = trainer.model(batch.features, batch.lengths, batch.detected)
                plain += float(trainer.loss(output, *targets).total.sum())
                started += float(trainer.loss.flat_start(output, *targets).sum())
        minimised.clear()
        before = trainer.progress.loss_sum
        run_update(trainer, batches)
        assert sum(minimised) == pytest.approx((plain + weight * started) / 7, rel=1e-5)
        assert trainer.progress.loss_sum - before == pytest.approx(plain, rel=1e-5)
