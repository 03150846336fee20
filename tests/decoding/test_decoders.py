import torch

from decoding.beam_search import beam_search
from decoding.decoders import make_decoder
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, adaptive_decode


def test_decoders_by_name():
    log_probs = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    lengths, settings = torch.tensor([8, 6]), LengthNormalization(steps_per_gloss=1.0, strength=3.0)
    assert make_decoder("greedy", settings)(log_probs, lengths) == greedy_decode(log_probs, lengths)
    beam = beam_search(log_probs, lengths)
    assert make_decoder("beam", settings)(log_probs, lengths) == [
        beam.readings(row)[0][0] for row in range(2)
    ]
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    model = LanguageModel(table, table[0], torch.zeros(5))
    weighed = LengthNormalization(steps_per_gloss=1.0, strength=3.0, gloss_bonus=0.5, lm_weight=2.0)
    beam = beam_search(log_probs, lengths, language_model=model, lm_weight=2.0, gloss_bonus=0.5)
    readings = [beam.readings(row)[0][0] for row in range(2)]
    assert make_decoder("beam", weighed, model)(log_probs, lengths) == readings
    adaptive = make_decoder("adaptive", settings)(log_probs, lengths)
    assert (
        adaptive
        == adaptive_decode(log_probs, lengths, settings)
        != greedy_decode(log_probs, lengths)
    )
