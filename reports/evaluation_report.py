"""report.html of a training run, an evaluation or the overfit check.

The page begins with the verdict and the WER. Curves, decoders, groups, sentences, confusions and
settings follow. It is made from results that are already scored: nothing here changes them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.corpus import Corpus
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import DecoderResult
from reports.figures import curves, intervals
from reports.interval_words import interval_cell, wer_interval_text
from reports.no_reference import no_reference_rows
from reports.novelty_tables import gloss_rows, sentence_rows
from reports.posterior_maps import map_sentences
from reports.rendering import write_page
from reports.sentence_ranking import list_sentences
from reports.text_direction import isolated
from reports.verdict import Verdict

GROUPS_DRAWN = 30  # signers in the figure and the table
ERRORS_LISTED = 12  # per kind
_TONES = {
    "under the target": "good",
    "memorised": "good",
    "not memorised": "bad",
    "unusable": "bad",
    "collapsed to blanks": "bad",
    "not learning": "bad",
    "learned little": "bad",
    "diverged": "bad",
    "of no use": "bad",
}


@dataclass(frozen=True)
class EvaluationReport:
    """What a report shows beside the decoded split.

    Args:
        result: see `decoding.scoring.breakdown`; with `novelty`, see
            `decoding.novelty.errors_by_novelty`, where the train sentences are known.
        tiles: (value, meaning) of further figures beside the WER.
        history: the epochs of the training (rows of metrics.jsonl).
        settings: {section: {key: value}}.
        environment: {name: value}.
        measure: what the large figure is.
        trained_on: the corpus of the training, if it is simulated.
        closed_set: what the reader of a closed-set evaluation must know; empty for all others.
    """

    title: str
    subtitle: str
    verdict: Verdict
    result: dict[str, Any]
    tiles: Sequence[tuple[str, str]] = ()
    history: Sequence[dict[str, Any]] = ()
    best_epoch: int | None = None
    curves_note: str = ""
    decoders: Sequence[DecoderResult] = ()
    decoders_note: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    measure: str = "word error rate"
    closed_set: str = ""
    trained_on: str = ""


def write_evaluation_report(path: Path, report: EvaluationReport, decoded: DecodedSplit) -> None:
    """Write the page. Raises DataError when the file cannot be written."""
    result, verdict, corpus = report.result, report.verdict, decoded.corpus
    worst, best = list_sentences(decoded)
    write_page(
        path,
        "evaluation_report.html",
        title=report.title,
        subtitle=report.subtitle,
        simulated=corpus.simulated,
        composed=corpus.composed,
        trained_on="" if corpus.simulated else report.trained_on,
        tone=_TONES.get(verdict.state, ""),
        headline=_capitalized(str(verdict)),
        reasons=[_capitalized(reason) for reason in verdict.reasons],
        closed_set=report.closed_set,
        sentences=len(decoded.references),
        without_reference=sum(not glosses for glosses in decoded.references),
        measure=report.measure,
        wer=f"{result['wer']:.2f} %",
        interval=wer_interval_text(result),
        many_tiles=len(report.tiles) > 2,
        tiles=[*_error_tiles(result), *report.tiles],
        curves=list(curves(report.history, report.best_epoch).items()) if report.history else [],
        curves_note=report.curves_note,
        decoders=[_decoder_row(decoder) for decoder in report.decoders],
        decoders_note=report.decoders_note,
        groups=[
            _group("signer", result["by_signer"], result),
            _group("sentence length", _named_lengths(result["by_length"]), result),
        ],
        novelty=_novelty(result.get("novelty")),
        worst=worst,
        best=best,
        maps=map_sentences(decoded),
        errors_listed=ERRORS_LISTED,
        confusions=_confusions(result["most_common"], decoded),
        corpus=_facts(_describe_corpus(corpus)),
        environment=_facts(report.environment),
        settings=[
            _facts({f"{section}.{name}": value for name, value in values.items()})
            for section, values in report.settings.items()
        ],
    )


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _interval(rates: dict[str, Any]) -> str:
    return interval_cell(rates["wer"], rates["wer_interval"], rates["sentences"])


def _error_tiles(result: dict[str, Any]) -> list[tuple[str, str]]:
    """(value, meaning) of each kind of error, and of the number of sentences."""
    share = 100 / result["reference_glosses"]
    kinds = ("substitutions", "deletions", "insertions")
    tiles = [(f"{result[kind] * share:.2f} %", f"{kind}: {result[kind]:,}") for kind in kinds]
    size = (f"{result['sentences']:,}", f"sentences, {result['reference_glosses']:,} glosses")
    return [*tiles, size]


def _decoder_row(decoder: DecoderResult) -> tuple[str, ...]:
    rates = decoder.rates
    return (
        decoder.name,
        f"{rates['wer']:.2f}",
        _interval(rates),
        str(rates["substitutions"]),
        str(rates["deletions"]),
        str(rates["insertions"]),
        f"{decoder.milliseconds:.1f}",
        decoder.settings,
    )


def _named_lengths(by_length: dict[str, Any]) -> dict[str, Any]:
    return {f"{name} glosses": rates for name, rates in by_length.items()}


def _group(title: str, groups: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Figure and table of the WER by signer or by sentence length. groups: {name: rates}; result:
    of all sentences."""
    shown, note = groups, ""
    if len(groups) > GROUPS_DRAWN:
        largest = sorted(groups, key=lambda name: -groups[name]["reference_glosses"])
        kept = set(largest[:GROUPS_DRAWN])
        shown = {name: rates for name, rates in groups.items() if name in kept}
        note = f"{GROUPS_DRAWN} of {len(groups)} are shown: those with the most glosses."
    rows = [
        (
            name,
            f"{rates['wer']:.2f}",
            _interval(rates),
            f"{rates['sentences']:,}",
            f"{rates['reference_glosses']:,}",
        )
        for name, rates in shown.items()
    ]
    rows += no_reference_rows(result["no_reference"])
    return {"title": title, "note": note, "figure": intervals(shown, result["wer"]), "rows": rows}


def _novelty(novelty: dict[str, Any] | None) -> dict[str, Any] | None:
    """The tables of known and new sentences and glosses."""
    if novelty is None:
        return None
    return {
        "train": novelty["train"],
        "train_sentences": f"{novelty['train_sentences']:,}",
        "sentences": sentence_rows(novelty),
        "glosses": gloss_rows(novelty),
    }


def _confusions(
    most_common: dict[str, Any], decoded: DecodedSplit
) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """(title, heading of the first column, rows) of each kind of error. A row is the gloss, how
    often the error occurs, and how often the split has the reference gloss."""
    signed = Counter(gloss for glosses in decoded.references for gloss in glosses)
    tables = []
    for kind, title, head in (
        ("substitutions", "Confused", "reference → hypothesis"),
        ("deletions", "Left out", "gloss"),
        ("insertions", "Added", "gloss"),
    ):
        rows = []
        for text, count in most_common[kind][:ERRORS_LISTED]:
            reference = text.split(" -> ")[0]
            occurrences = "–" if kind == "insertions" else str(signed[reference])
            shown = " → ".join(map(isolated, text.split(" -> ")))
            rows.append((shown, str(count), occurrences))
        tables.append((title, head, rows))
    return tables


def _describe_corpus(corpus: Corpus) -> dict[str, object]:
    splits = (f"{name} {len(split):,} sentences" for name, split in corpus.splits.items())
    return {
        "name": corpus.describe(),
        "folder": corpus.path,
        "splits": ", ".join(splits),
        "frames/s": f"{corpus.fps:g}",
        "SHA-256 of corpus.json": corpus.fingerprint,
    }


def _facts(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(str(name), _in_words(value)) for name, value in values.items()]


def _in_words(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
