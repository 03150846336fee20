"""What is decoded: both heads joined, and the frequency of glosses divided out."""

import math

import pytest
import torch

from errors import DataError
from models.build import set_prediction
from models.prediction import SEQUENCE_ALONE, JoinedHeads, Prediction, join_heads, log_prior_of
from tests.models.test_i3d_teacher import features_of, small_teacher


def log_of(*rows: list[float]) -> torch.Tensor:
    """Log-probabilities (1, T', V) of the rows."""
    return torch.tensor([rows]).log()


SEQUENCE = log_of([0.7, 0.2, 0.1], [0.1, 0.8, 0.1])
CONVOLUTION = log_of([0.1, 0.1, 0.8], [0.3, 0.3, 0.4])
NO_PRIOR = torch.zeros(3)


def test_the_mixture_is_the_weighted_mean_of_both_probabilities():
    found = join_heads(SEQUENCE, CONVOLUTION, JoinedHeads(0.25), NO_PRIOR)
    expected = log_of([0.55, 0.175, 0.275], [0.15, 0.675, 0.175])
    torch.testing.assert_close(found, expected)


def test_the_mixture_does_not_underflow():
    never = torch.tensor([[[0.0, -200.0]]])
    torch.testing.assert_close(join_heads(never, never, JoinedHeads(0.5), torch.zeros(2)), never)


@pytest.mark.parametrize(("share", "head"), [(0.0, SEQUENCE), (1.0, CONVOLUTION)])
def test_a_share_of_nothing_or_of_all_is_one_head(share, head):
    assert torch.equal(join_heads(SEQUENCE, CONVOLUTION, JoinedHeads(share), NO_PRIOR), head)


def test_the_frequency_of_a_gloss_is_divided_out():
    """Train has gloss 1 nine times and gloss 2 once. The mean log-frequency of its ten glosses is
    0.9 log 9, so the priors are 9^0.1 and 9^-0.9, to the power of the scale."""
    prior = log_prior_of(torch.tensor([123, 9, 1]))
    assert prior[0] == 0 and prior.dtype == torch.float32
    found = join_heads(SEQUENCE[:, :1], CONVOLUTION[:, :1], JoinedHeads(0.0, 0.5), prior)
    weights = [0.7, 0.2 / 9**0.05, 0.1 * 9**0.45]
    expected = log_of([weight / sum(weights) for weight in weights])
    torch.testing.assert_close(found, expected)


def test_glosses_that_are_equally_frequent_stay_as_they_are():
    prior = log_prior_of(torch.tensor([0, 5, 5]))
    torch.testing.assert_close(
        join_heads(SEQUENCE, CONVOLUTION, JoinedHeads(0.0, 1.0), prior), SEQUENCE
    )


def test_a_gloss_that_train_lacks_counts_as_one_that_is_there_once():
    prior = log_prior_of(torch.tensor([0, 4, 1, 0]))
    assert prior[2] == prior[3] < prior[1]
    assert math.isclose(float(prior[1] - prior[2]), math.log(4), rel_tol=1e-6)
    assert not log_prior_of(torch.tensor([7, 0, 0])).any(), "no gloss at all"


def test_a_model_predicts_from_its_sequence_head_until_it_is_told_otherwise():
    model = small_teacher()
    output = model(features_of(2, 9), torch.tensor([9, 7]))
    assert torch.equal(model.predict(output), output.log_probs)
    assert not any("prediction" in name for name in model.state_dict())
    prior = log_prior_of(torch.tensor([0, 1, 2, 3, 4, 50]))
    model.prediction.use(JoinedHeads(0.5, 0.25), prior)
    found = model.predict(output)
    expected = join_heads(output.log_probs, output.conv_log_probs, JoinedHeads(0.5, 0.25), prior)
    assert torch.equal(found, expected)
    assert not torch.allclose(found, output.log_probs, atol=1e-3)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        (SEQUENCE_ALONE, "sequence head alone"),
        (JoinedHeads(0.3), "30 % of the convolution head"),
        (JoinedHeads(0.0, 0.5), "gloss frequency to the power of 0.5 divided out"),
    ],
)
def test_how_the_heads_are_joined_is_said_in_words(heads, words):
    assert str(heads) == words
    prediction = Prediction(3)
    prediction.use(heads, NO_PRIOR)
    expected = "greedy" if heads == SEQUENCE_ALONE else f"greedy; heads: {words}"
    assert prediction.named_beside("greedy") == expected


def test_a_checkpoint_without_the_entry_is_decoded_from_its_sequence_head():
    model = small_teacher()
    set_prediction(model, {}, "old.pth")
    assert model.prediction.heads == SEQUENCE_ALONE


def test_a_checkpoint_tells_how_its_heads_are_joined():
    model, prior = small_teacher(), torch.arange(6.0)
    entry = {"conv_share": 0.3, "prior_scale": 0.5, "log_prior": prior}
    set_prediction(model, {"heads": entry}, "best.pth")
    assert model.prediction.heads == JoinedHeads(0.3, 0.5)
    assert torch.equal(model.prediction.log_prior, prior)


@pytest.mark.parametrize(
    "change",
    [
        {"conv_share": 1.5},
        {"conv_share": None},
        {"prior_scale": float("nan")},
        {"prior_scale": True},
        {"log_prior": torch.zeros(5)},
        {"log_prior": [0.0] * 6},
        {"log_prior": torch.full((6,), float("nan"))},
    ],
)
def test_an_entry_that_does_not_fit_is_refused(change):
    entry = {"conv_share": 0.3, "prior_scale": 0.5, "log_prior": torch.zeros(6)} | change
    with pytest.raises(DataError, match=r"best\.pth has no usable 'heads': .*log_prior of 6"):
        set_prediction(small_teacher(), {"heads": entry}, "best.pth")
