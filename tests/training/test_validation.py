import dataclasses
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.corpus import Split
from data.pipeline import feature_statistics
from decoding.greedy import greedy_decode
from inference.posteriors import split_posteriors
from training.losses import ctc_per_gloss, distillation_per_step
from training.resume import plan_start
from training.setup import prepare_run
from training.validation import validate


@pytest.fixture(scope="module")
def trained(make_corpus, make_settings, tmp_path_factory) -> tuple[dict, dict]:
    """Settings and weights of a teacher after 25 updates. Dev sentence 1 has an unknown gloss,
    sentence 3 cannot be aligned."""
    folder = tmp_path_factory.mktemp("validation")
    train = ["HOUSE RAIN", "SUN WIND TOMORROW", "RAIN SUN"]
    dev = ["SUN HOUSE RAIN", "MOON HOUSE", "WIND", ("RAIN RAIN SUN", 9), "RAIN TOMORROW"]
    corpus = make_corpus(folder / "corpus", {"train": train, "dev": dev})
    settings = make_settings(
        folder / "run", data_dir=str(corpus), label_smoothing=0.0, flat_start_epochs=0.0
    )
    trainer = prepare_run(plan_start(None, settings)).trainer
    trainer.model.set_statistics(*feature_statistics(trainer.pipeline, trainer.train.split))
    for _ in range(25):  # enough to predict more than blanks
        trainer.update(list(trainer.pipeline.batches(trainer.train.split, [np.arange(3)])))
    return settings, trainer.model.state_dict()


@pytest.fixture
def trainer(trained):
    """A trainer with these weights, which the test may change."""
    settings, weights = trained
    trainer = prepare_run(plan_start(None, settings)).trainer
    trainer.model.load_state_dict(weights)
    return trainer


def run(trainer, **options):
    return validate(
        trainer.model,
        trainer.pipeline,
        trainer.dev,
        trainer.vocabulary,
        trainer.loss,
        trainer.precision,
        **options,
    )


def outputs_one_by_one(trainer):
    trainer.model.eval()
    for index in range(len(trainer.dev.split)):
        (batch,) = trainer.pipeline.batches(trainer.dev.split, [np.array([index])])
        with torch.no_grad():
            yield index, trainer.model(batch.features, batch.lengths, batch.detected)


def test_validation_equals_a_loop_over_the_sentences(trainer):
    hypotheses, losses, blanks, steps = [], [], 0, 0
    for index, output in outputs_one_by_one(trainer):
        path = output.log_probs[0].argmax(-1).tolist()
        blanks += path.count(0)
        steps += len(path)
        hypotheses.append(
            [trainer.vocabulary.glosses[i - 1] for i, _ in itertools.groupby(path) if i]
        )
        if index in (0, 2, 4):
            target = torch.tensor([trainer.vocabulary.encode(trainer.dev.references[index])])
            length = torch.tensor([target.shape[1]])
            sequence, convolution = (
                ctc_per_gloss(part, output.lengths, target, length) for part in output[:2]
            )
            distillation = distillation_per_step(
                output.conv_log_probs[..., 1:], output.log_probs[..., 1:], output.lengths, 8.0
            )
            losses.append(float(sequence + convolution + distillation))
    for batch_size in (16, 2):
        found = run(trainer, batch_size=batch_size)
        assert found.hypotheses == hypotheses and any(hypotheses)
        assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-4)
        assert found.blank_share == pytest.approx(blanks / steps)
        assert 0 < found.blank_share < 1


def test_sentences_with_unknown_glosses_or_too_few_frames_are_scored_too(trainer):
    found = run(trainer)
    assert found.score.reference_glosses == 3 + 2 + 1 + 3 + 2 and found.score.sentences == 5
    assert math.isfinite(found.loss)
    perfect = [
        [g for g in glosses if g in trainer.vocabulary] for glosses in trainer.dev.references
    ]
    order = iter(sorted(range(5), key=lambda index: trainer.dev.split.lengths[index]))
    result = run(
        trainer,
        decoder=lambda log_probs, _: [
            trainer.vocabulary.encode(perfect[next(order)]) for _ in log_probs
        ],
    )
    assert result.hypotheses == perfect
    assert (result.score.deletions, result.score.insertions, result.score.substitutions) == (
        1,
        0,
        0,
    ), "MOON cannot be predicted"


def test_steps_in_which_nobody_is_seen_have_no_gloss_as_in_evaluate(trainer):
    split, glosses = trainer.dev.split, run(trainer).hypotheses
    detected = split.detected.copy()
    detected[split.offsets[0] : split.offsets[1], 0] = False
    unseen = Split(split.name, split.sentences, split.landmarks, detected)
    trainer.dev = dataclasses.replace(trainer.dev, split=unseen)
    _, output = next(outputs_one_by_one(trainer))
    assert output.log_probs.argmax(-1).any(), "the model itself predicts a gloss where nobody is"
    expected = [[] for _ in glosses]
    for index, rows in split_posteriors(trainer.model, trainer.pipeline, unseen, trainer.precision):
        (classes,) = greedy_decode(rows[None], torch.tensor([len(rows)]))
        expected[index] = trainer.vocabulary.decode(classes)
    assert run(trainer).hypotheses == expected == [[], *glosses[1:]]


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_restored_also_after_an_interruption(trainer, training):
    trainer.model.train(training)
    run(trainer)
    assert trainer.model.training is training

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trainer, on_batch=stop)
    assert trainer.model.training is training


def test_validation_does_not_change_the_model_and_uses_no_dropout(trainer):
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.model.train()
    assert run(trainer) == run(trainer)
    assert all(
        torch.equal(before[name], tensor) for name, tensor in trainer.model.state_dict().items()
    )


def test_every_batch_is_reported(trainer):
    calls = []
    run(trainer, batch_size=2, on_batch=lambda: calls.append(1))
    assert len(calls) == 3


def test_the_loss_is_nan_when_no_sentence_can_be_aligned(trainer):
    trainer.dev.targets[:] = [None] * 5
    assert math.isnan(run(trainer).loss)


def test_sentences_without_a_finite_loss_are_counted_by_their_reason(trainer):
    reasons = {"unknown gloss": 1, "too short": 1, "not finite": 0}
    assert run(trainer, batch_size=2).without_loss == reasons
    with torch.no_grad():
        trainer.model.head.weight[1] *= math.nan
    found = run(trainer, batch_size=2)
    assert math.isnan(found.loss)
    assert found.without_loss == {"unknown gloss": 1, "too short": 1, "not finite": 3}


def test_an_infinite_loss_is_not_finite(trainer):
    def loss(output, targets, lengths):
        return SimpleNamespace(total=torch.tensor([1.0, math.inf, math.inf])[: len(targets)])

    trainer.loss = loss
    assert run(trainer).without_loss["not finite"] == 2
