import pytest
import torch

from data.vocabulary import Vocabulary
from decoding import DECODERS
from decoding.beam_search import beam_search
from decoding.closed_set import ClosedSet
from decoding.decoders import decoder_entry, describe_decoder, make_decoder, read_decoder_entry
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel, train_language_model
from decoding.length_normalization import LengthNormalization, adaptive_decode
from errors import DataError

LANGUAGE_MODEL = train_language_model([["A", "B"], ["B"]], Vocabulary(["A", "B"]))
SETTINGS = LengthNormalization(2.0, strength=4.0, gloss_bonus=0.5, lm_weight=0.25)


def test_the_names_are_the_decoders_that_can_be_made():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(3, 9, 3, generator=generator).log_softmax(-1)
    lengths = torch.tensor([9, 4, 1])
    plain_beam = LengthNormalization(2.0, "beam", 0.0, 0.5, 0.25)
    expected = {
        "greedy": greedy_decode(log_probs, lengths),
        "adaptive": adaptive_decode(log_probs, lengths, SETTINGS, LANGUAGE_MODEL),
        "beam": adaptive_decode(log_probs, lengths, plain_beam, LANGUAGE_MODEL),
        "closed": [[2, 1]] * 2 + [[]],  # a single step has no two glosses
    }
    assert set(DECODERS) == set(expected)
    for name in DECODERS:
        decode = make_decoder(name, SETTINGS, LANGUAGE_MODEL, ClosedSet(((2, 1),), "test"))
        assert decode(log_probs, lengths) == expected[name]


def test_a_beam_without_a_language_model_has_no_gloss_bonus():
    log_probs = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    lengths = torch.tensor([9, 7])
    talkative = LengthNormalization(2.0, "beam", 0.0, gloss_bonus=9.0, lm_weight=0.25)
    plain = make_decoder("beam", LengthNormalization(2.0))(log_probs, lengths)
    assert make_decoder("beam", talkative)(log_probs, lengths) == plain
    assert make_decoder("beam", talkative, LANGUAGE_MODEL)(log_probs, lengths) != plain


def test_a_decoder_entry_is_read_as_it_was_made():
    settings, language_model, tuned_on = read_decoder_entry(
        decoder_entry(SETTINGS, LANGUAGE_MODEL, "dev of tiny")
    )
    assert (settings, tuned_on) == (SETTINGS, "dev of tiny")
    assert torch.equal(language_model.table, LANGUAGE_MODEL.table)


def test_a_language_model_without_weight_is_not_stored():
    entry = decoder_entry(LengthNormalization(2.0), LANGUAGE_MODEL, "dev of tiny")
    assert entry["language_model"] is None


def test_an_untuned_entry_has_no_split_and_no_language_model():
    assert read_decoder_entry({"steps_per_gloss": 3.0}) == (LengthNormalization(3.0), None, None)


def test_settings_of_version_0_2_keep_their_measure():
    old = {"steps_per_gloss": 3.0, "readings": "beam", "strength": 4.0, "gloss_bonus": 0.5}
    old |= {"lm_weight": 0.0, "tuned_on": "dev of tiny", "language_model": None}
    settings = LengthNormalization(3.0, "beam", 4.0, 0.5, measure="steps")
    assert read_decoder_entry(old) == (settings, None, "dev of tiny")
    assert str(settings).endswith("3.00 steps per gloss expected, doubt measured on steps")
    now = decoder_entry(LengthNormalization(3.0, "beam", 4.0, 0.5), None, "dev of tiny")
    assert read_decoder_entry(now)[0].measure == "hypotheses"
    assert read_decoder_entry(decoder_entry(settings, None, "dev"))[0] == settings


def test_unknown_decoder_settings_are_refused():
    with pytest.raises(DataError, match=r"not those of this version: .*temperature"):
        read_decoder_entry({"steps_per_gloss": 3.0, "temperature": 2.0})


def test_descriptions_name_the_settings_and_the_split():
    assert describe_decoder("greedy", SETTINGS, None, None) == "greedy"
    assert describe_decoder("beam", SETTINGS, None, None) == "beam, no language model"
    assert describe_decoder("beam", SETTINGS, LANGUAGE_MODEL, "dev") == (
        "beam, language model weight 0.25, gloss bonus 0.5 (tuned on dev)"
    )
    assert describe_decoder("adaptive", SETTINGS, LANGUAGE_MODEL, "dev") == (
        "beam, strength 4, gloss bonus 0.5, language model weight 0.25, "
        "2.00 steps per gloss expected (chosen on dev)"
    )
    assert describe_decoder("adaptive", LengthNormalization(2.0, "filtered"), None, None) == (
        "greedy with confidence filter (default)"
    )


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
    hypotheses = [beam.hypotheses(row)[0][0] for row in range(2)]
    assert make_decoder("beam", weighed, model)(log_probs, lengths) == hypotheses
    adaptive = make_decoder("adaptive", settings)(log_probs, lengths)
    assert (
        adaptive
        == adaptive_decode(log_probs, lengths, settings)
        != greedy_decode(log_probs, lengths)
    )
