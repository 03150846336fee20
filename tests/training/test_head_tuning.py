"""How the heads are joined is chosen on dev."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.vocabulary import Vocabulary
from decoding.scoring import score
from models.i3d_teacher import TeacherOutput
from models.prediction import SEQUENCE_ALONE, JoinedHeads, join_heads, log_prior_of
from training import head_tuning
from training.head_tuning import CANDIDATES, tune_heads
from training.resume import plan_start
from training.setup import prepare_run
from training.trainer import Trainer

VOCABULARY = Vocabulary(["RAIN", "SUN"])


def test_the_simplest_way_comes_first():
    assert CANDIDATES[0] == SEQUENCE_ALONE and len(set(CANDIDATES)) == len(CANDIDATES) == 12
    assert list(CANDIDATES) == sorted(CANDIDATES, key=lambda h: (h.conv_share, h.prior_scale))


def tuned(monkeypatch, references, sequence, convolution, counts=(0, 1, 1), seen=True):
    """The choice for sentences of one step, whose heads have these probabilities. seen: whether the
    signer was detected."""
    outputs = [
        (
            np.array([index]),
            TeacherOutput(
                torch.tensor([[one]]).log(), torch.tensor([[other]]).log(), torch.tensor([1])
            ),
            torch.full((1, 4, 4), seen),
        )
        for index, (one, other) in enumerate(zip(sequence, convolution, strict=True))
    ]
    monkeypatch.setattr(head_tuning, "model_outputs", lambda *_: outputs)
    dev = SimpleNamespace(split=_Lengths(len(references)), references=references)
    prior = log_prior_of(torch.tensor(counts))
    return tune_heads(None, None, dev, VOCABULARY, None, prior)


class _Lengths:
    """A split of `count` sentences of four frames."""

    def __init__(self, count: int):
        self.lengths = np.full(count, 4)

    def __len__(self) -> int:
        return len(self.lengths)


RIGHT, WRONG, SURELY_RIGHT = [0.1, 0.6, 0.3], [0.1, 0.3, 0.6], [0.05, 0.9, 0.05]


def test_the_sequence_head_predicts_alone_where_nothing_is_better(monkeypatch):
    found = tuned(monkeypatch, [("RAIN",)], [RIGHT], [RIGHT])
    assert found == (SEQUENCE_ALONE, 0.0, 0.0)


def test_the_convolution_head_is_joined_where_it_knows_better(monkeypatch):
    """With 30 %, RAIN has 0.7 * 0.3 + 0.3 * 0.9 = 0.48 and SUN 0.435: the smallest share that is
    right. The second sentence is right in any way."""
    found = tuned(monkeypatch, [("RAIN",), ("RAIN",)], [WRONG, RIGHT], [SURELY_RIGHT, SURELY_RIGHT])
    assert found == (JoinedHeads(0.3), 0.0, 50.0)


def test_the_frequency_of_glosses_is_divided_out_where_that_helps(monkeypatch):
    """RAIN is nine times as rare as SUN: to the power of 0.25, 0.35 * 9^0.25 = 0.61 wins over
    0.55."""
    doubtful = [0.1, 0.35, 0.55]
    found = tuned(monkeypatch, [("RAIN",)], [doubtful], [doubtful], counts=(0, 1, 9))
    assert found == (JoinedHeads(0.0, 0.25), 0.0, 100.0)


def test_steps_in_which_nobody_is_seen_have_no_glosses(monkeypatch):
    """As wherever a model is decoded: no way can add a gloss there, or leave one out."""
    found = tuned(monkeypatch, [("RAIN",)], [WRONG], [SURELY_RIGHT], seen=False)
    assert found == (SEQUENCE_ALONE, 100.0, 100.0)


@pytest.fixture
def trainer(make_settings, make_corpus, tmp_path) -> Trainer:
    """A teacher after 25 updates. Dev has an unknown gloss and repeats."""
    train = ["HOUSE RAIN", "SUN WIND TOMORROW", "RAIN SUN RAIN"]
    dev = ["SUN HOUSE RAIN", "MOON HOUSE", "WIND", "RAIN RAIN SUN", "RAIN TOMORROW"]
    corpus = make_corpus(tmp_path / "corpus", {"train": train, "dev": dev})
    trainer = prepare_run(
        plan_start(None, make_settings(tmp_path / "run", data_dir=str(corpus)))
    ).trainer
    for _ in range(25):
        trainer.update(list(trainer.pipeline.batches(trainer.train.split, [np.arange(3)])))
    return trainer


def test_all_ways_are_compared_on_the_whole_of_dev(trainer, monkeypatch):
    """Against a loop over ways and sentences."""
    vocabulary, prior = trainer.vocabulary, torch.linspace(-1, 1, trainer.vocabulary.size)
    monkeypatch.setattr(head_tuning, "_BATCH_SIZE", 2)
    found = tune_heads(
        trainer.model, trainer.pipeline, trainer.dev, vocabulary, trainer.precision, prior
    )
    rates = {}
    trainer.model.eval()
    for heads in CANDIDATES:
        hypotheses = []
        for index in range(len(trainer.dev.split)):
            (batch,) = trainer.pipeline.batches(trainer.dev.split, [np.array([index])])
            with torch.no_grad():
                output = trainer.model(batch.features, batch.lengths, batch.detected)
            joined = join_heads(output.log_probs, output.conv_log_probs, heads, prior)
            path = joined[0].argmax(-1).tolist()
            hypotheses.append([vocabulary.glosses[i - 1] for i, _ in itertools.groupby(path) if i])
        rates[heads] = score(trainer.dev.references, hypotheses).wer
    assert len(set(rates.values())) > 1, "the ways differ"
    assert found.wer == min(rates.values()) == rates[found.heads]
    assert found.wer_alone == rates[SEQUENCE_ALONE]
