import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

import training.trainer
from benchmarks.launches import as_on_cuda
from data.corpus import Corpus
from data.ctc_targets import pad_targets
from data.device_cache import CachedSplit
from data.pipeline import FeaturePipeline, feature_statistics
from decoding.scoring import Score, score
from errors import DivergenceError
from models.checkpoint import load_checkpoint
from training.config import Config
from training.losses import consistency_per_step
from training.part_masking import draw_part_masks
from training.resume import plan_start
from training.setup import prepare_run
from training.stop_signals import InterruptedRunError, StopSignals
from training.trainer import MAX_BAD_UPDATES, make_optimizer
from training.validation import ValidationResult


def prepare(settings: dict, **training):
    """A trainer that has not begun."""
    settings["training"] |= training
    return prepare_run(plan_start(None, settings)).trainer


def plain_batches(trainer, plan):
    return list(
        trainer.pipeline.batches(trainer.train.split, [np.array(indices) for indices in plan])
    )


def update(trainer, batches):
    """One update, and its figures."""
    trainer.update(batches)
    trainer.read_last_update()


def parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}


# ---------------------------------------------------------------- learning


def test_it_learns_the_tiny_corpus(tiny_settings, execute_run):
    tiny_settings["training"] |= {
        "epochs": 40,
        "patience": 40,
        "accumulation_steps": 1,
        "batch_size": 4,
    }
    # With them the loss has a floor
    tiny_settings["training"] |= {"label_smoothing": 0.0, "part_mask": 0.0}
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


# ---------------------------------------------------------------- what a run leaves behind


def test_all_that_is_promised_is_there(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "best_model.pth",
        "best_model.pth.sha256",
        "last.pth",
        "last.pth.sha256",
        "previous.pth",
        "previous.pth.sha256",
        "config.yaml",
        "metrics.jsonl",
        "result.json",
        "dev_hypotheses.csv",
        "tensorboard",
        "environment.json",
        "MODEL_CARD.md",
        "report.html",
    }


def test_result_json(finished_run, tiny_corpus, run_copy, execute_run):
    result = json.loads((finished_run / "result.json").read_text())
    promised = "best_dev_wer best_epoch epochs_run parameters seconds frames_per_second decoder corpus simulated"
    assert set(promised.split()) <= set(result)
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    wers = [row["dev_wer"] for row in rows]
    assert result["best_epoch"] == 1 + wers.index(min(wers)) and result["epochs_run"] == 3
    assert result["best_dev_wer"] == pytest.approx(min(wers)), "the decoder of this run is greedy"
    model = load_checkpoint(finished_run / "best_model.pth")["model"]
    buffers = ("feature_mean", "feature_std", "running_mean", "running_var", "num_batches_tracked")
    assert result["parameters"] == sum(
        t.numel() for name, t in model.items() if not name.endswith(buffers)
    )
    assert result["seconds"] > 0 and result["frames_per_second"] > 0
    assert result["peak_memory_gb"] == max(
        json.loads(line)["peak_memory_gb"]
        for line in (finished_run / "metrics.jsonl").read_text().splitlines()
    )
    assert (result["decoder"], result["corpus"], result["simulated"]) == ("greedy", "tiny", False)
    assert result["corpus_fingerprint"] == Corpus(tiny_corpus).fingerprint


def test_rows_of_metrics(finished_run):
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    keys = {
        "epoch",
        "train_loss",
        "dev_loss",
        "train_wer",
        "dev_wer",
        "learning_rate",
        "frames_per_second",
    }
    assert all(0.1 < row["peak_memory_gb"] < 100 for row in rows)
    for row in rows:
        assert keys <= set(row) and all(math.isfinite(row[key]) for key in keys)
        errors = row["dev_substitutions"] + row["dev_deletions"] + row["dev_insertions"]
        assert row["dev_wer"] == pytest.approx(100 * errors / 11)
    # two updates an epoch, one epoch of warm-up: 1/2 and 1 of the peak, then the cosine's 4 steps
    # down to the minimum
    cosine = [1e-6 + (0.01 - 1e-6) * 0.5 * (1 + math.cos(math.pi * step / 3)) for step in range(4)]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, cosine[1], 1e-6])


def test_tensorboard_has_the_same_rows(finished_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished_run / "tensorboard"))
    board.Reload()
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    for key in (
        "train_loss",
        "dev_loss",
        "train_wer",
        "dev_wer",
        "learning_rate",
        "frames_per_second",
    ):
        events = board.Scalars(key)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx(
            [row[key] for row in rows], rel=1e-5
        )


def test_the_config_that_was_used_is_kept(finished_run, make_settings):
    kept = Config().updated(yaml.safe_load((finished_run / "config.yaml").read_text()))
    assert kept == Config().updated(make_settings(finished_run))
    assert Config().updated(load_checkpoint(finished_run / "best_model.pth")["config"]) == kept


def test_the_hypotheses_give_the_wer_of_the_result(finished_run, tiny_corpus):
    lines = (finished_run / "dev_hypotheses.csv").read_text().splitlines()
    assert lines[0] == "id|signer|reference|hypothesis"
    rows = [line.split("|") for line in lines[1:]]
    dev = Corpus(tiny_corpus).split("dev").sentences
    assert [row[:3] for row in rows] == [[s.id, s.signer, " ".join(s.glosses)] for s in dev]
    result = json.loads((finished_run / "result.json").read_text())
    assert (
        score([row[2].split() for row in rows], [row[3].split() for row in rows]).wer
        == result["best_dev_wer"]
    )


def test_the_checkpoint_holds_vocabulary_statistics_and_corpus(finished_run, tiny_corpus):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    corpus = Corpus(tiny_corpus)
    assert checkpoint["vocabulary"] == ["HOUSE", "RAIN", "SUN", "TOMORROW", "WIND"]
    mean, std = feature_statistics(FeaturePipeline(0.8, torch.device("cpu")), corpus.split("train"))
    model = prepare_run(plan_start(str(finished_run / "best_model.pth"), {})).trainer.model
    read = torch.cat([encoder.columns for encoder in model.parts])
    torch.testing.assert_close(model.feature_mean[read], mean[read])
    torch.testing.assert_close(model.feature_std[read], std[read])
    assert torch.equal(model.feature_std, checkpoint["model"]["feature_std"])
    assert (
        checkpoint["corpus"]["fingerprint"] == corpus.fingerprint
        and checkpoint["corpus"]["name"] == "tiny"
    )
    steps = sum(-(-sentence.frames // 4) for sentence in corpus.split("train").sentences)
    glosses = sum(len(sentence.glosses) for sentence in corpus.split("train").sentences)
    assert checkpoint["decoder"]["steps_per_gloss"] == pytest.approx(steps / glosses)


def test_a_simulated_corpus_says_so_in_every_output(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    splits = {"train": ["SUN RAIN", "RAIN SUN", "SUN"], "dev": ["RAIN SUN"]}
    corpus = make_corpus(tmp_path / "corpus", splits, simulated=True)
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    _, result = execute_run(tiny_settings)
    assert result["simulated"] is True
    output = capsys.readouterr().out
    assert (
        "corpus corpus (simulated signers)" in output
        and "dev of corpus (simulated signers)" in output
    )
    assert load_checkpoint(tmp_path / "run" / "last.pth")["corpus"]["simulated"] is True


def test_the_last_words(tiny_settings, execute_run, capsys, tmp_path):
    _, result = execute_run(tiny_settings)
    output = capsys.readouterr().out
    assert f"WER {result['best_dev_wer']:.2f} %" in output
    assert output.count("    reference   ") == output.count("    hypothesis  ") == 3
    assert output.rstrip().endswith(f"run folder: {tmp_path / 'run'}")


# ---------------------------------------------------------------- stopping


def test_early_stopping_on_dev_wer_ends_the_run(tiny_settings, execute_run, capsys, monkeypatch):
    evaluate, wers = training.trainer.evaluate, [50, 40, 40, 41]

    def told(*inputs, **options):  # dev loss goes on falling or not: it does not decide
        return replace(evaluate(*inputs, **options), score=Score(wers.pop(0), 0, 0, 100, 4))

    monkeypatch.setattr(training.trainer, "evaluate", told)
    tiny_settings["training"] |= {"epochs": 50, "patience": 2}
    run, result = execute_run(tiny_settings)
    assert (result["epochs_run"], result["best_epoch"], result["greedy_dev_wer"]) == (4, 2, 40.0)
    assert load_checkpoint(run.folder / "best_model.pth")["training"]["stopping"]["best_epoch"] == 2
    assert (
        len(load_checkpoint(run.folder / "best_model.pth")["training"]["progress"]["history"]) == 2
    )
    assert load_checkpoint(run.folder / "last.pth")["training"]["progress"]["finished"] is True
    assert "stopped early: no better dev WER in 2 epochs" in capsys.readouterr().out


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize(
    ("groups", "whole"), [([range(4), range(4, 8)], range(8)), ([range(5), range(5, 7)], range(7))]
)
def test_accumulated_batches_equal_one_batch(tiny_settings, groups, whole):
    """Every sentence weighs the same, also in a shorter batch. Without dropout and with fixed
    normalisation, which see batches."""
    tiny_settings["model"]["dropout"] = 0.0
    gradients = []
    for plan in (groups, [whole]):
        trainer = prepare(tiny_settings, max_grad_norm=1e9)
        trainer.model.set_statistics(*feature_statistics(trainer.pipeline, trainer.train.split))
        trainer.model.eval()
        update(trainer, plain_batches(trainer, plan))
        gradients.append({name: p.grad for name, p in trainer.model.named_parameters()})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-4, rtol=1e-4, msg=name)
    assert max(float(gradient.abs().max()) for gradient in gradients[1].values()) > 0.1


def test_gradients_are_clipped_before_the_step(tiny_settings):
    trainer = prepare(tiny_settings, max_grad_norm=0.5)
    update(trainer, plain_batches(trainer, [range(4)]))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.model.parameters()))
    assert norm == pytest.approx(0.5, rel=1e-3)


def test_one_update_an_accumulation_group_and_a_short_group_at_the_end(tiny_settings):
    for batch_size, accumulation, sizes in (
        (5, 2, [[5, 5], [2]]),
        (4, 2, [[4, 4], [4]]),
        (12, 3, [[12]]),
    ):
        trainer = prepare(tiny_settings, batch_size=batch_size, accumulation_steps=accumulation)
        assert [[len(batch) for batch in group] for group in trainer.begin_epoch(1)] == sizes
        assert trainer.updates_per_epoch == len(sizes)
        said = sorted(
            index for group in trainer.begin_epoch(3) for batch in group for index in batch.tolist()
        )
        assert said == list(range(12))


def test_batches_of_frames_as_the_epoch_shows_the_sentences(tiny_settings, capsys):
    trainer = prepare(tiny_settings, frames_per_batch=120, accumulation_steps=2)
    assert "longer than --frames_per_batch" not in capsys.readouterr().out
    counts = set()
    for epoch in range(1, 9):
        groups = trainer.begin_epoch(epoch)
        counts.add(len(groups))
        assert trainer.epoch_updates == len(groups) and all(
            len(group) == 2 for group in groups[:-1]
        )
        plan = [batch for group in groups for batch in group]
        assert sorted(index for batch in plan for index in batch) == list(range(12))
        trainer.progress.epoch = epoch
        for batch in trainer.batches(plan):
            assert batch.features.shape[0] * batch.features.shape[1] <= 120
            shown = trainer.shown_lengths(trainer.epoch_train, epoch)[batch.indices]
            assert batch.lengths.tolist() == shown.tolist(), (
                "planned with the lengths that augmentation gives"
            )
    assert len(counts) > 1, "not every epoch has as many"


def test_a_sentence_over_the_frame_budget_is_said_and_alone(tiny_settings, capsys):
    trainer = prepare(tiny_settings, frames_per_batch=1, accumulation_steps=1)
    assert "12 sentences are longer than --frames_per_batch 1" in capsys.readouterr().out
    assert [[len(batch) for batch in group] for group in trainer.begin_epoch(1)] == [[1]] * 12


def test_the_rate_follows_the_run_where_epochs_differ_in_updates(tiny_settings):
    """Each epoch takes the schedule as far as any other, in steps of its own number of updates."""
    trainer = prepare(
        tiny_settings, epochs=4, warmup_epochs=2.0, learning_rate=1.0, frames_per_batch=90
    )
    usual, seen = trainer.updates_per_epoch, []
    for epoch in (1, 2, 3, 4):
        groups = len(trainer.begin_epoch(epoch))
        for group in (0, groups - 1):
            trainer.progress.epoch, trainer.progress.group = epoch, group
            update(trainer, plain_batches(trainer, [[0]]))
            seen.append(trainer.optimizer.param_groups[0]["lr"])
            assert seen[-1] == trainer.learning_rate((epoch - 1 + group / groups) * usual)
    assert seen[0] == pytest.approx(0.5 / usual) and seen[2] == pytest.approx(0.5 + 0.5 / usual)
    assert seen[4] == pytest.approx(1.0) and seen[-1] < 0.2


def test_the_rate_of_each_update_by_hand(tiny_settings):
    trainer = prepare(
        tiny_settings, epochs=5, warmup_epochs=2.0, learning_rate=1.0, min_learning_rate=0.2
    )
    # two updates an epoch: four of warm-up, then six from 1 down to 0.2
    expected = [
        0.25,
        0.5,
        0.75,
        1.0,
        *(0.2 + 0.4 * (1 + math.cos(math.pi * step / 5)) for step in range(6)),
    ]
    assert [trainer.learning_rate(step) for step in range(10)] == pytest.approx(expected)
    assert expected[-1] == pytest.approx(0.2)
    for group in (1, 1):
        trainer.progress.epoch, trainer.progress.group = 2, group
        update(trainer, plain_batches(trainer, [range(2)]))
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)]
)
def test_optimizers_decay_matrices_and_not_vectors_or_classes(tiny_settings, name, kind):
    trainer = prepare(tiny_settings, optimizer=name, weight_decay=0.5, learning_rate=0.1)
    optimizer = make_optimizer(trainer.model, trainer.config)
    assert type(optimizer) is kind
    before = parameters(trainer)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in trainer.model.named_parameters():
        if parameter.ndim < 2 or key in ("head.weight", "conv_head.weight"):
            assert torch.equal(parameter, before[key]), key
        elif name == "adamw":  # decoupled: each weight shrinks by lr * decay
            torch.testing.assert_close(parameter, before[key] * (1 - 0.1 * 0.5))
        else:  # as part of the gradient: Adam's first step is lr in the direction of the weight
            expected = before[key] - 0.1 * before[key].sign() * (before[key].abs() > 1e-4)
            chosen = before[key].abs() > 1e-4
            torch.testing.assert_close(parameter[chosen], expected[chosen], atol=2e-4, rtol=1e-3)


def test_a_run_with_adam(tiny_settings, execute_run):
    tiny_settings["training"] |= {"optimizer": "adam", "epochs": 2}
    run, _ = execute_run(tiny_settings)
    assert type(run.trainer.optimizer) is torch.optim.Adam
    losses = [row["train_loss"] for row in run.trainer.progress.history]
    assert losses[1] < losses[0]


def test_dropout_is_drawn_from_seed_epoch_and_update(tiny_settings):
    losses = []
    for epoch, group, noise in ((1, 0, 1), (1, 0, 2), (1, 1, 1), (2, 0, 1)):
        trainer = prepare(tiny_settings)
        trainer.progress.epoch, trainer.progress.group = epoch, group
        torch.manual_seed(noise)
        trainer.model.train()
        update(trainer, plain_batches(trainer, [range(4)]))
        losses.append(trainer.progress.loss_sum)
    assert losses[0] == losses[1] and len(set(losses[1:])) == 3


# ---------------------------------------------------------------- views, joined sentences, figures


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_loss_of_hidden_parts_and_of_two_views_by_hand(tiny_settings, weight):
    """One view: its loss. Two: the mean of theirs and the weighted divergence between them; the
    output is the first's."""
    trainer = prepare(tiny_settings, part_mask=0.5, consistency_weight=weight)
    trainer.model.eval()
    (batch,) = plain_batches(trainer, [range(4)])
    targets = pad_targets(trainer.train.targets[:4], trainer.device)
    with torch.no_grad():
        output, losses = trainer.losses(batch, *targets)
        views = torch.from_numpy(
            draw_part_masks(trainer.config.training, 1, [f"train-0{number}" for number in range(4)])
        )
        outputs = [
            trainer.model(batch.features, batch.lengths, batch.detected, view) for view in views
        ]
        each = [trainer.loss(one, *targets).total for one in outputs]
    assert len(views) == (2 if weight else 1) and not views[0].all()
    assert torch.equal(output.log_probs, outputs[0].log_probs)
    if weight:
        assert not torch.equal(each[0], each[1])
        between = consistency_per_step(
            outputs[0].log_probs, outputs[1].log_probs, outputs[0].lengths
        )
        torch.testing.assert_close(losses, (each[0] + each[1]) / 2 + weight * between)
    else:
        torch.testing.assert_close(losses, each[0])


def test_a_joined_sentence_is_trained_on_with_all_of_its_glosses(
    tiny_settings, make_corpus, tmp_path, monkeypatch
):
    corpus = make_corpus(
        tmp_path / "corpus",
        {"train": [*["SUN", "RAIN"] * 3, "SUN RAIN WIND HOUSE SUN"], "dev": ["SUN"]},
    )
    tiny_settings["augmentation"] = {"mix": 1.0}
    trainer = prepare(tiny_settings, data_dir=str(corpus), batch_size=7, part_mask=0.0)
    ((plan,),) = trainer.begin_epoch(1)
    known, alone = trainer.epoch_train.split, trainer.train.split
    (joined, *_) = np.flatnonzero(known.partners >= 0)
    expected = alone.sentences[joined].glosses + alone.sentences[known.partners[joined]].glosses
    (batch,) = trainer.batches([plan])
    asked = []

    def noted(targets, device):
        asked.extend(targets)
        return pad_targets(targets, device)

    monkeypatch.setattr(training.trainer, "pad_targets", noted)
    update(trainer, [batch])
    row = batch.indices.tolist().index(joined)
    assert tuple(trainer.vocabulary.decode(asked[row])) == expected
    references = []
    monkeypatch.setattr(
        training.trainer, "score", lambda said, _: references.extend(said) or Score(0, 0, 0, 1, 1)
    )
    trainer._finish_epoch(StopSignals())
    assert references[joined] == expected, "the train WER is of what was shown"


def test_the_figures_that_a_diagnosis_reads_by_hand(tiny_settings, monkeypatch):
    trainer = prepare(tiny_settings)
    trainer.progress.gradient_norms, trainer.progress.hypotheses = [1.0, 9.0, 2.0], {0: [1]}
    said = ValidationResult([["SUN", "RAIN"], [], ["SUN"], []], Score(1, 6, 0, 10, 4), 3.0, 0.75)
    monkeypatch.setattr(training.trainer, "evaluate", lambda *_, **__: said)
    row = trainer._finish_epoch(StopSignals())
    assert (row["dev_empty_share"], row["dev_gloss_ratio"], row["dev_blank_share"]) == (
        0.5,
        0.3,
        0.75,
    )
    assert row["gradient_norm"] == 2.0 and (row["dev_wer"], row["dev_deletions"]) == (70.0, 6)


def test_the_bars_loss_leaves_skipped_updates_out(tiny_settings):
    trainer = prepare(tiny_settings)
    spoil_losses(trainer, {1})
    for indices in ([0, 1], [2, 3, 4]):
        update(trainer, plain_batches(trainer, [indices]))
    assert len(trainer.progress.hypotheses) == 5
    assert f"loss {trainer.progress.loss_sum / 2:.2f}," in trainer._standing() + ","


def test_the_norm_before_clipping_is_kept_for_the_epoch(tiny_settings):
    trainer = prepare(tiny_settings, max_grad_norm=0.01)
    update(trainer, plain_batches(trainer, [range(4)]))
    (norm,) = trainer.progress.gradient_norms
    assert norm > 0.1 and trainer.progress.recent_losses == [
        pytest.approx(trainer.progress.loss_sum / 4)
    ]


# ---------------------------------------------------------------- numbers that are not finite


def spoil_losses(trainer, bad: set[int]):
    """Losses of the given calls become NaN."""
    whole, calls = trainer.loss, []

    def spoilt(*arguments):
        losses = whole(*arguments)
        calls.append(1)
        if len(calls) - 1 in bad:
            losses.total = losses.total * math.nan
        return losses

    trainer.loss = spoilt


def test_an_update_whose_loss_is_not_finite_is_skipped_and_named(tiny_settings, capsys):
    trainer = prepare(tiny_settings)
    spoil_losses(trainer, {0})
    before = parameters(trainer)
    (batch,) = plain_batches(trainer, [[3, 1]])
    update(trainer, [batch])
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert trainer.progress.bad_updates == 1
    assert (
        "update skipped" in (output := capsys.readouterr().out) and "train-03, train-01" in output
    )
    update(trainer, [batch])
    assert trainer.progress.bad_updates == 0
    assert not all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_skipped_update_does_not_count_for_the_loss_and_does_not_shift_the_learning_rate(
    tiny_settings,
):
    rates, whole = [], prepare(tiny_settings)
    (batch,) = plain_batches(whole, [[3, 1]])
    for bad in (set(), {1, 2}):
        trainer = prepare(tiny_settings, epochs=5, warmup_epochs=3.0)
        spoil_losses(trainer, bad)
        seen = []
        for group in range(5):
            trainer.progress.group = group
            update(trainer, [batch])
            seen.append(trainer.optimizer.param_groups[0]["lr"])
        rates.append(seen)
        assert len(trainer.progress.gradient_norms) == 5 - len(
            bad
        ) and trainer.progress.skipped_updates == len(bad)
        assert trainer.progress.loss_sentences == 2 * (5 - len(bad)) and math.isfinite(
            trainer.progress.loss_sum
        )
    assert len(set(rates[0])) == 5 and rates[0] == rates[1], "it follows the place in the run"


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_a_skipped_update_leaves_no_trace_in_the_optimiser(tiny_settings, optimizer):
    """As if it had never been: weights, both moments and the step of the bias correction."""
    states = []
    for bad in (set(), {1}):
        trainer = prepare(tiny_settings, optimizer=optimizer, part_mask=0.0)
        # No dropout and fixed normalisation: each update is the same but for the weights
        trainer.model.eval()
        (batch,) = plain_batches(trainer, [[3, 1]])
        spoil_losses(trainer, bad)
        for _ in range(3 + len(bad)):
            update(trainer, [batch])
        assert trainer.progress.skipped_updates == len(bad)
        states.append((parameters(trainer), trainer.optimizer.state_dict()["state"]))
    for name, weight in states[0][0].items():
        assert torch.equal(states[1][0][name], weight), name
    for one, other in zip(states[0][1].values(), states[1][1].values(), strict=True):
        assert float(one["step"]) == float(other["step"]) == 3
        assert torch.equal(one["exp_avg"], other["exp_avg"]) and torch.equal(
            one["exp_avg_sq"], other["exp_avg_sq"]
        )


# ---------------------------------------------------------------- nobody waits for the device


class NoWaiting(TorchDispatchMode):
    """Fails on what would make the host wait for a CUDA device: values read from tensors and sizes
    that depend on values."""

    WAITS = (
        "_local_scalar_dense",
        "item",
        "nonzero",
        "is_nonzero",
        "equal",
        "masked_select",
        "unique",
    )

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        assert op.overloadpacket.__name__ not in self.WAITS, f"the host would wait in {op}"
        if op.overloadpacket.__name__ in ("index", "index_put", "index_put_"):
            masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
            assert not masks, f"a mask in {op}"
        return op(*args, **(kwargs or {}))


def forbid_reading(patch):
    """What reads a tensor past the dispatcher, and tensors made of lists: a copy to the device that
    is waited for."""

    def read(*_, **__):
        raise AssertionError("the host would wait")

    for name in ("tolist", "numpy", "__array__", "new_tensor"):
        patch.setattr(torch.Tensor, name, read)
    patch.setattr(torch, "tensor", read)


def test_no_wait_sees_what_it_should(monkeypatch):
    x = torch.arange(3.0)
    for wait in (lambda: float(x[0]), lambda: bool(x.any()), lambda: x[x > 1], x.nonzero):
        with NoWaiting(), pytest.raises(AssertionError, match=r"would wait|a mask"):
            wait()
    for wait in (
        lambda: x.tolist(),
        lambda: x.numpy(),
        lambda: np.asarray(x),
        lambda: torch.tensor([1.0]),
        lambda: x.new_tensor([1.0]),
    ):
        with (
            NoWaiting(),
            monkeypatch.context() as patch,
            pytest.raises(AssertionError, match="would wait"),
        ):
            forbid_reading(patch)
            wait()
    with NoWaiting():
        x.index_select(0, x.long()).sum()


EVERYTHING = {
    "mirror": 0.5,
    "time_mask": 0.2,
    "hand_drop": 0.5,
    "finger_drop": 0.3,
    "part_shift": 0.1,
    "part_scale": [0.9, 1.1],
    "hand_drift": 0.1,
    "hand_turn": 20.0,
}


@pytest.mark.parametrize("sequence", ["bilstm", "conformer"])
def test_nothing_in_an_update_waits_for_the_device(tiny_settings, monkeypatch, sequence):
    """As on CUDA, but on the CPU: features and augmentation of a batch, and the update but for the
    late reading."""
    monkeypatch.setattr("training.losses.on_its_own", lambda _: True)  # CTC as on CUDA
    monkeypatch.setattr("data.features.can_branch_on", lambda _: False)
    tiny_settings["augmentation"] = EVERYTHING
    tiny_settings["model"]["sequence"] = sequence
    trainer = prepare(tiny_settings, part_mask=0.3, consistency_weight=0.5, label_smoothing=0.1)
    plan, read_afterwards, take_down = trainer.begin_epoch(1)[0], [], trainer._take_down
    for group in range(2):  # constants are copied to the device once
        batches = trainer.batches(plan)
        trainer.progress.group = group
        if group:
            with NoWaiting(), monkeypatch.context() as patch:
                forbid_reading(patch)
                patch.setattr(trainer, "_take_down", read_afterwards.append)
                trainer.update(list(batches))
        else:
            trainer.update(list(batches))
    take_down(*read_afterwards)
    trainer.read_last_update()
    assert len(trainer.progress.gradient_norms) == 2 and len(trainer.progress.hypotheses) == 10


@pytest.mark.parametrize("resident", [False, True])
def test_an_update_runs_on_a_device_that_has_no_values(tiny_settings, monkeypatch, resident):
    """On torch's device 'meta' tensors have shapes alone, and none can meet one of the CPU:
    whatever reads a value or does not bring a tensor there fails. From landmarks to the gradient's
    norm; the optimiser does not know the device."""
    meta = torch.device("meta")
    tiny_settings["augmentation"] = EVERYTHING
    trainer = prepare(tiny_settings, part_mask=0.3, consistency_weight=0.5, label_smoothing=0.1)
    trainer.model.to(meta).train()
    trainer.device = trainer.pipeline.device = meta
    if resident:
        trainer.pipeline.resident = [
            CachedSplit(trainer.train.split, torch.device("cpu"), trainer.pipeline.selection)
        ]
        trainer.pipeline.resident[0].landmarks = trainer.pipeline.resident[0].landmarks.to(meta)
        trainer.pipeline.resident[0].detected = trainer.pipeline.resident[0].detected.to(meta)
    asked = []
    monkeypatch.setattr(training.trainer, "LateReading", asked.append)
    monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
    with as_on_cuda():
        trainer.update(list(trainer.batches(trainer.begin_epoch(1)[0])))
    ((losses, norm, *paths),) = asked
    assert losses.is_meta and losses.shape == (10,) and norm.shape == () and len(paths) == 4
    assert all(parameter.grad.is_meta for parameter in trainer.model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_nothing_in_an_update_waits_for_the_gpu(tiny_settings, precision):
    tiny_settings["augmentation"] = EVERYTHING
    trainer = prepare(
        tiny_settings, device="cuda", precision=precision, part_mask=0.3, consistency_weight=0.5
    )
    plan = trainer.begin_epoch(1)[0]
    update(trainer, list(trainer.batches(plan)))
    try:
        torch.cuda.set_sync_debug_mode("error")
        trainer.update(list(trainer.batches(plan)))
        trainer.update(list(trainer.batches(plan)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.read_last_update()
    assert len(trainer.progress.gradient_norms) + trainer.progress.skipped_updates == 3


def test_figures_are_read_one_update_late_and_none_is_lost(tiny_settings):
    trainer = prepare(tiny_settings)
    for group, indices in enumerate([[0, 1], [2, 3], [4]]):
        trainer.progress.group = group
        trainer.update(plain_batches(trainer, [indices]))
        assert (
            len(trainer.progress.gradient_norms) == group
            and len(trainer.progress.recent_losses) == group
        )
    trainer.read_last_update()
    assert len(trainer.progress.gradient_norms) == 3 and sorted(trainer.progress.hypotheses) == [
        0,
        1,
        2,
        3,
        4,
    ]
    trainer.read_last_update()
    assert len(trainer.progress.gradient_norms) == 3, "each is read once"


def test_a_checkpoint_holds_the_figures_of_every_update_before_it(tiny_settings, tmp_path):
    trainer = prepare(tiny_settings)
    (tmp_path / "run").mkdir()
    trainer.update(plain_batches(trainer, [[0, 1]]))
    trainer.save()
    progress = load_checkpoint(tmp_path / "run" / "last.pth")["training"]["progress"]
    assert (
        len(progress["gradient_norms"]) == 1
        and sorted(progress["hypotheses"]) == [0, 1]
        and progress["loss_sentences"] == 2
    )


def test_a_gradient_that_is_not_finite_is_skipped_too(tiny_settings, capsys):
    trainer = prepare(tiny_settings)
    before = parameters(trainer)
    trainer.model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    update(trainer, plain_batches(trainer, [[3, 1]]))
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    assert (len(trainer.progress.gradient_norms), trainer.progress.skipped_updates) == (0, 1)
    assert "train-03, train-01" in capsys.readouterr().out


def test_ten_bad_updates_in_a_row_end_the_run(tiny_settings, tmp_path):
    trainer = prepare(tiny_settings, accumulation_steps=2)
    (tmp_path / "run").mkdir()
    batches = plain_batches(trainer, [[0, 1], [4]])
    spoil_losses(trainer, {*range(0, 18, 2), *range(20, 60, 2)})
    for _ in range(19):  # nine bad ones, a good one, nine bad ones
        update(trainer, batches)
    with pytest.raises(DivergenceError, match=f"{MAX_BAD_UPDATES} updates in a row") as error:
        update(trainer, batches)
    assert error.value.exit_code == 4 and MAX_BAD_UPDATES == 10
    assert f"{tmp_path / 'run' / 'last.pth'} holds the last good state" in str(error.value)
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


def test_a_run_that_diverges_leaves_its_last_good_state_and_can_be_gone_on_from(
    tiny_settings, execute_run, tmp_path
):
    original = training.trainer.Trainer.losses

    def spoilt(self, *arguments):
        output, losses = original(self, *arguments)
        return output, losses * math.nan if self.progress.epoch >= 2 else losses

    tiny_settings["training"] |= {"epochs": 20, "patience": 20}
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DivergenceError, match=r"diverged_batch\.pth"),
    ):
        patch.setattr(training.trainer.Trainer, "losses", spoilt)
        execute_run(tiny_settings)
    state = load_checkpoint(tmp_path / "run" / "last.pth")
    history = state["training"]["progress"]["history"]
    assert [row["skipped_updates"] for row in history][:3] == [0, 2, 2], (
        "epochs in which nothing was learned"
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


def test_a_loss_spike_is_logged_with_its_sentences(tiny_settings, capsys):
    trainer = prepare(tiny_settings, batch_size=4)
    (batch,) = plain_batches(trainer, [[3, 1, 2, 5]])
    trainer.progress.recent_losses = [10.0 + 0.1 * (number % 5) for number in range(30)]
    original = trainer.losses
    for losses in ([9.0, 12.0, 10.0, 10.0], [10.0, 300.0, 11.0, 20.0]):

        def told(*arguments, losses=losses):
            output, real = original(*arguments)
            return output, real * 0 + torch.tensor(losses)

        trainer.losses = told
        update(trainer, [batch])
    (event,) = trainer.progress.events
    assert event["kind"] == "spike" and event["loss"] == pytest.approx(85.25)
    assert event["sentences"] == [["train-01", 300.0], ["train-05", 20.0], ["train-02", 11.0]]
    output = capsys.readouterr().out
    assert (
        output.count("loss spike") == 1
        and "train-01 (300.0), train-05 (20.0), train-02 (11.0)" in output
    )
    assert trainer.progress.loss_spikes == 1 and len(trainer.progress.gradient_norms) == 2, (
        "it is said, not skipped"
    )


# ---------------------------------------------------------------- sentences that do not fit


def test_with_skip_bad_a_train_sentence_that_cannot_be_aligned_is_named_and_left_out(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    train = ["SUN RAIN", ("RAIN RAIN SUN", 9), "RAIN SUN", "SUN"]
    corpus = make_corpus(tmp_path / "corpus", {"train": train, "dev": ["RAIN SUN"]})
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 2, "skip_bad": True}
    run, result = execute_run(tiny_settings)
    output = capsys.readouterr().out
    assert (
        "train sentence train-01: cannot be aligned: 9 frames give 3 steps, its 3 glosses need 4"
        in output
    )
    assert "1 of 4 train sentences are left out" in output
    assert result["train_sentences_left_out"] == 1
    assert run.trainer.trainable.tolist() == [0, 2, 3]
    assert all(math.isfinite(row["train_loss"]) for row in run.trainer.progress.history)


def test_a_dev_gloss_that_train_does_not_have_is_an_error_in_the_wer(
    make_corpus, tiny_settings, execute_run, tmp_path, capsys
):
    corpus = make_corpus(
        tmp_path / "corpus", {"train": ["SUN RAIN", "RAIN"], "dev": ["RAIN MOON", "SUN"]}
    )
    tiny_settings["training"] |= {"data_dir": str(corpus), "epochs": 1}
    run, result = execute_run(tiny_settings)
    assert (
        "dev: 1 occurrences of 1 glosses that are not in the vocabulary count as errors: MOON"
        in capsys.readouterr().out
    )
    assert result["reference_glosses"] == 3 and result["best_dev_wer"] >= 100 / 3
    assert "MOON" not in run.trainer.vocabulary


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_second_acts(signum, capsys):
    acted = []
    previous = signal.signal(signum, lambda *_: acted.append(1))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            os.kill(os.getpid(), signum)
            assert signals.received == signum and not acted
            os.kill(os.getpid(), signum)
            assert acted == [1]
        os.kill(os.getpid(), signum)
        assert acted == [1, 1], "put back afterwards"
    finally:
        signal.signal(signum, previous)
    assert "finishing this update, then saving" in capsys.readouterr().out
    assert InterruptedRunError(signum).exit_code == 128 + signum
