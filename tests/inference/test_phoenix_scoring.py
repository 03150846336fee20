"""--scoring phoenix2014: hypotheses pass the official clean-up, one gloss a line."""

import torch

from decoding.sclite import write_ctm, write_stm
from decoding.scoring import score
from inference.evaluating.clean_up import clean_hypothesis

# The official clean-up of a ctm file, worked by hand: each gloss is a line of its own
RAW = [
    "__ON__ loc-NORD WIE AUSSEHEN MORGEN",
    "REGEN REGEN A B IN-KOMMEND IN-KOMMEND",
    "__PU__ S0NNE SUEDRAUM ZEIGEN loc-REGEN-PLUSPLUS __EMOTION__ REGEN",
    "__EMOTION__ __LEFTHAND__ __EPENTHESIS__",
]
CLEANED = [
    "__ON__ NORD WIE AUSSEHEN MORGEN",
    "REGEN REGEN A B IN-KOMMEND IN-KOMMEND",
    "SONNE SUED ZEIGEN-BILDSCHIRM REGEN REGEN",
    "",
]
REFERENCES = [
    "__ON__ NORD WIE-AUSSEHEN MORGEN",  # WIE AUSSEHEN: a substitution and an insertion
    "REGEN A+B IN-KOMMEND IN-KOMMEND",  # a doubled REGEN, and A B: the same
    "SONNE SUED ZEIGEN-BILDSCHIRM REGEN",  # a doubled REGEN
    "WIND MORGEN",  # two deletions
]
ERRORS = 2 + 3 + 1 + 2


def spans_of(glosses: list[str]) -> list[tuple[float, float]]:
    return [(0.2 * n, 0.2 * n + 0.16) for n in range(len(glosses))]


def test_each_gloss_is_cleaned_by_itself():
    for raw, cleaned in zip(RAW, CLEANED, strict=True):
        glosses, _ = clean_hypothesis(raw.split(), spans_of(raw.split()))
        assert glosses == cleaned.split()
    hypotheses = [clean_hypothesis(raw.split(), spans_of(raw.split()))[0] for raw in RAW]
    assert score([line.split() for line in REFERENCES], hypotheses).errors == ERRORS


def test_the_glosses_that_stay_keep_their_times():
    glosses = ["__PU__", "loc-NORD", "__EMOTION__", "REGEN", "REGEN"]
    spans = [(0.0, 0.1), (0.2, 0.3), (0.4, 0.5), (0.6, 0.7), (0.8, 0.9)]
    assert clean_hypothesis(glosses, spans) == (
        ["NORD", "REGEN", "REGEN"],
        [(0.2, 0.3), (0.6, 0.7), (0.8, 0.9)],
    )
    assert clean_hypothesis([], []) == ([], [])
    assert clean_hypothesis(["__PU__"], [(0.0, 1.0)]) == ([], [])


def test_a_doubled_gloss_is_an_error(run_evaluate, adaptive_run, tmp_path, monkeypatch):
    """Also in the table that compares the decoders, and in the files for sclite."""

    def doubled(log_probs, lengths):
        return [[1, 1, 1, 1] for _ in lengths]

    monkeypatch.setattr(
        "inference.model_on_corpus.ModelOnCorpus.make_or_tune_decoder",
        lambda *_: (doubled, "doubled"),
    )
    monkeypatch.setattr(
        "decoding.batches.gloss_spans",
        lambda log_probs, lengths, glosses, counts: (
            torch.arange(4).repeat(len(glosses), 1),
            torch.arange(4).repeat(len(glosses), 1) + 1,
        ),
    )
    plain, cleaned = (
        run_evaluate(adaptive_run / "best_model.pth", tmp_path / scoring, "--scoring", scoring)
        for scoring in ("plain", "phoenix2014")
    )
    assert cleaned["wer"] == plain["wer"] and cleaned["insertions"] == plain["insertions"] > 0
    ctm = [(tmp_path / name / "hypotheses.ctm").read_text() for name in ("plain", "phoenix2014")]
    assert ctm[0] == ctm[1]


def test_sclite_counts_the_same_errors(tmp_path, sclite):
    ids = [f"sentence_{number}" for number in range(len(RAW))]
    cleaned = [clean_hypothesis(raw.split(), spans_of(raw.split())) for raw in RAW]
    write_ctm(tmp_path / "h.ctm", ids, [names for names, _ in cleaned], [s for _, s in cleaned])
    references = [line.split() for line in REFERENCES]
    write_stm(tmp_path / "r.stm", ids, ["anna"] * 4, [10.0] * 4, references)
    summary, glosses = sclite(), sum(map(len, references))
    assert (int(summary[0]), int(summary[1])) == (4, glosses)
    assert summary[6] == f"{100 * ERRORS / glosses:.1f}"
