"""The results of --decoder closed, which are reported apart from an open-vocabulary WER."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from data.vocabulary import Vocabulary
from decoding.closed_set import ClosedSet
from decoding.scoring import SentenceErrors, align, rates
from reports.evaluation_report import EvaluationReport
from reports.interval_words import wer_interval_text
from reports.verdict import closed_set_verdict


def closed_set_results(
    closed_set: ClosedSet,
    figures: dict[str, Any],
    aligned: Sequence[SentenceErrors],
    references: Sequence[Sequence[str]],
    greedy: Sequence[Sequence[int]],
    vocabulary: Vocabulary,
    clean_up: Callable[[list[str]], Sequence[str]] = list,
) -> dict[str, Any]:
    """`closed_set` and `open_vocabulary` of result.json.

    The WER of the closed set stands under `closed_set` alone, so that no program takes it for an
    open-vocabulary WER. `open_vocabulary` is greedy decoding of the same log-probabilities.

    Args:
        figures: the WER with the closed set, and its breakdown.
        aligned: the errors of each sentence, with the closed set.
        references: the glosses of each sentence.
        greedy: the class indices of each sentence by greedy decoding.
        clean_up: applied to each hypothesis before it is scored.
    """

    def scored(classes: Sequence[int]) -> tuple[str, ...]:
        return tuple(clean_up(vocabulary.decode(classes)))

    listed = {scored(classes) for classes in closed_set.sentences}
    return {
        "closed_set": {
            "list": closed_set.source,
            "list_sentences": len(closed_set.sentences),
            "list_sentences_left_out": closed_set.left_out,
            "references_in_list": sum(tuple(reference) in listed for reference in references),
            "sentences_right": sum(not sentence.errors for sentence in aligned),
            **figures,
        },
        "open_vocabulary": {
            "decoder": "greedy",
            **rates(align(references, map(scored, greedy))),
        },
    }


def closed_set_notice(closed: dict[str, Any]) -> str:
    """What the reader of a closed-set WER must know. closed: see `closed_set_results`."""
    return (
        f"The decoder chose among {closed['list_sentences']:,} sentences ({closed['list']}). "
        f"{closed['references_in_list']:,} of {closed['sentences']:,} references are among them; "
        f"{closed['sentences_right']:,} sentences are completely right. "
        "Do not compare this WER with an open-vocabulary WER."
    )


def closed_set_lines(result: dict[str, Any]) -> list[str]:
    """The same for the screen, and the open-vocabulary WER. result: the content of result.json."""
    found = result["open_vocabulary"]
    return [
        f"  {closed_set_notice(result['closed_set'])}",
        f"  open vocabulary ({found['decoder']}): WER {found['wer']:.2f} %, "
        f"{wer_interval_text(found)}",
    ]


def closed_set_report(report: EvaluationReport) -> EvaluationReport:
    """The report of a closed-set evaluation, which says so. report: its `result` is `closed_set` of
    result.json."""
    return replace(
        report,
        title=f"Closed-set evaluation: {report.title}",
        verdict=closed_set_verdict(report.result),
        measure="closed-set word error rate",
        closed_set=closed_set_notice(report.result),
        decoders_note=f"{report.decoders_note} Only closed is bound to the list.",
    )
