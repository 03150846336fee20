import itertools
import math

import numpy as np
import pytest
import torch

from data.pipeline import feature_statistics
from decoding.beam_search import beam_search
from decoding.decoders import make_decoder
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, adaptive_decode
from training.losses import ctc_per_gloss, distillation_per_step
from training.resume import plan_start
from training.setup import prepare_run
from training.validation import validate


@pytest.fixture
def trainer(make_corpus, tiny_settings, tmp_path):
    """A teacher after a few updates; dev has an unknown gloss (sentence 1) and a sentence that
    cannot be aligned (3)."""
    train = ["HOUSE RAIN", "SUN WIND TOMORROW", "RAIN SUN"]
    dev = ["SUN HOUSE RAIN", "MOON HOUSE", "WIND", ("RAIN RAIN SUN", 9), "RAIN TOMORROW"]
    corpus = make_corpus(tmp_path / "corpus", {"train": train, "dev": dev})
    tiny_settings["training"] |= {"data_dir": str(corpus), "label_smoothing": 0.0}
    trainer = prepare_run(plan_start(None, tiny_settings)).trainer
    trainer.model.set_statistics(*feature_statistics(trainer.pipeline, trainer.train.split))
    for _ in range(25):  # enough to say more than blank
        trainer.update(list(trainer.pipeline.batches(trainer.train.split, [np.arange(3)])))
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


def test_equals_a_loop_over_the_sentences(trainer):
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
                output.conv_log_probs, output.log_probs, output.lengths, 8.0
            )
            losses.append(float(sequence + convolution + distillation))
    for batch_size in (16, 2):
        found = run(trainer, batch_size=batch_size)
        assert found.hypotheses == hypotheses and any(hypotheses)
        assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-4)
        assert found.blank_share == pytest.approx(blanks / steps)
        assert 0 < found.blank_share < 1


def test_unknown_and_unalignable_sentences_are_scored_all_the_same(trainer):
    found = run(trainer)
    assert found.score.reference_glosses == 3 + 2 + 1 + 3 + 2 and found.score.sentences == 5
    assert math.isfinite(found.loss)
    perfect = [
        [g for g in glosses if g in trainer.vocabulary] for glosses in trainer.dev.references
    ]
    order = iter(sorted(range(5), key=lambda index: trainer.dev.split.lengths[index]))
    told = run(
        trainer,
        decoder=lambda log_probs, _: [
            trainer.vocabulary.encode(perfect[next(order)]) for _ in log_probs
        ],
    )
    assert told.hypotheses == perfect
    assert (told.score.deletions, told.score.insertions, told.score.substitutions) == (1, 0, 0), (
        "MOON cannot be said"
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_put_back_also_when_stopped(trainer, training):
    trainer.model.train(training)
    run(trainer)
    assert trainer.model.training is training

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trainer, on_batch=stop)
    assert trainer.model.training is training


def test_nothing_of_the_model_changes_and_dropout_is_off(trainer):
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


def test_without_any_alignable_sentence_the_loss_is_nan(trainer):
    trainer.dev.targets[:] = [None] * 5
    assert math.isnan(run(trainer).loss)


def test_decoders_by_name():
    log_probs = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    lengths, settings = torch.tensor([8, 6]), LengthNormalization(steps_per_gloss=1.0, strength=3.0)
    assert make_decoder("greedy", settings)(log_probs, lengths) == greedy_decode(log_probs, lengths)
    beam = beam_search(log_probs, lengths)
    assert make_decoder("beam", settings)(log_probs, lengths) == [
        beam.hypotheses(row)[0][0] for row in range(2)
    ]
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    model = LanguageModel(table, table[0], torch.zeros(5))
    weighed = LengthNormalization(steps_per_gloss=1.0, strength=3.0, gloss_bonus=0.5, lm_weight=2.0)
    beam = beam_search(log_probs, lengths, language_model=model, lm_weight=2.0, gloss_bonus=0.5)
    readings = [beam.hypotheses(row)[0][0] for row in range(2)]
    assert make_decoder("beam", weighed, model)(log_probs, lengths) == readings
    adaptive = make_decoder("adaptive", settings)(log_probs, lengths)
    assert (
        adaptive
        == adaptive_decode(log_probs, lengths, settings)
        != greedy_decode(log_probs, lengths)
    )
