"""The comparison of decoders: no sentence is decoded with settings that were tuned on it."""

import json

import pytest

from benchmarks import adaptive
from decoding.length_normalization import STRENGTHS, LengthNormalization


@pytest.fixture
def tuned_on(monkeypatch) -> list[tuple[list[bytes], tuple[float, ...], bool]]:
    """(posteriors, strengths, whether there is a language model) of each tuning, which chooses
    greedy."""
    calls = []

    def tune(posteriors, references, vocabulary, steps_per_gloss, language_model, strengths):
        values = [rows.numpy().tobytes() for _, rows in posteriors]
        assert len(values) == len(references)
        calls.append((values, tuple(strengths), language_model is not None))
        return LengthNormalization(steps_per_gloss, "greedy", 0.0)

    monkeypatch.setattr(adaptive, "tune", tune)
    return calls


def test_the_halves_are_disjoint_and_complete(finished_run, monkeypatch, tuned_on):
    decoded = []
    decode = adaptive.decode_sentences

    def decode_sentences(posteriors, count, decoders):
        posteriors = list(posteriors)
        decoded.append([rows.numpy().tobytes() for _, rows in posteriors])
        return decode(posteriors, count, decoders)

    monkeypatch.setattr(adaptive, "decode_sentences", decode_sentences)
    model = adaptive.open_model_on_corpus(finished_run / "best_model.pth", None, "cpu")
    found = adaptive.decode_halves(model, "train", seed=0)
    everything = {rows.numpy().tobytes() for _, rows in model.posteriors("train")}
    # In each half: greedy without tuning, then beam and adaptive
    assert [call[1:] for call in tuned_on] == [((0.0,), True), (STRENGTHS, True)] * 2
    for half in (0, 1):
        sentences, others = set(decoded[3 * half]), set(tuned_on[2 * half][0])
        assert sentences | others == everything and not sentences & others
        assert all(set(rows) == sentences for rows in decoded[3 * half : 3 * half + 3])
    assert found["greedy"] == found["beam"] == found["adaptive"]
    assert len(found["greedy"]) == len(everything)
    adaptive.decode_halves(model, "train", seed=0, with_language_model=False)
    assert [with_model for *_, with_model in tuned_on[4:]] == [False] * 4


def test_the_figures(finished_run, tmp_path, capsys):
    words = ["--checkpoints", finished_run / "best_model.pth", "--split", "train"]
    assert adaptive.main([*map(str, words), "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    name = f"{finished_run.name}_best_model"
    gain = figures[f"{name}_beam_wer"] - figures[f"{name}_adaptive_wer"]
    assert figures["gain_over_beam"] == pytest.approx(gain)
    assert 0 < figures[f"{name}_adaptive_against_beam_p"] <= 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("gain_over_beam: ")
    assert "hypotheses differ between beam and adaptive" in printed
