"""Known and new sentences and glosses: rows of the report, and lines on the screen."""

from collections.abc import Iterator
from typing import Any

from reports.interval_words import interval_cell, interval_text, wer_interval_text
from reports.no_reference import no_reference_lines, no_reference_rows

_SENTENCES = {
    "known": "known sentences",
    "new": "new sentences",
    "new_known_pairs": "new sentences, known pairs",
    "new_new_pairs": "new sentences, new pairs",
}
TableRow = tuple[str, str, str, str, str]


def sentence_rows(novelty: dict[str, Any]) -> list[TableRow]:
    """Group, WER, its interval, sentences and glosses. novelty: of `errors_by_novelty`."""
    rows = [
        _row(name, found, "wer", ("sentences", "reference_glosses"))
        for name, found in _sentence_groups(novelty)
    ]
    return rows + no_reference_rows(novelty["no_reference"])


def gloss_rows(novelty: dict[str, Any]) -> list[TableRow]:
    """Group, error rate, its interval, how often its glosses are signed, and how many different
    glosses it has."""
    return [
        _row(name, found, "error_rate", ("occurrences", "glosses"))
        for name, found in _gloss_groups(novelty)
    ]


def novelty_lines(novelty: dict[str, Any]) -> Iterator[str]:
    """One line per group, for the screen."""
    for name, found in _sentence_groups(novelty):
        if found["wer"] is None:
            yield f"{name}: - (none)"
            continue
        yield (
            f"{name}: {_rate(found['wer'])} % over {found['sentences']:,} sentences, "
            f"{found['reference_glosses']:,} glosses, {wer_interval_text(found)}"
        )
    yield from no_reference_lines(novelty["no_reference"])
    for name, found in _gloss_groups(novelty):
        if found["error_rate"] is None:
            yield f"{name}: - (none)"
            continue
        yield (
            f"{name}: {_rate(found['error_rate'])} % of {found['occurrences']:,} are wrong "
            f"({found['glosses']:,} different), "
            + interval_text(found["error_rate"], found["error_rate_interval"], found["sentences"])
        )


def _sentence_groups(novelty: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The name of each group of sentences in words, and its rates."""
    return [(name, novelty["sentences"][key]) for key, name in _SENTENCES.items()]


def _gloss_groups(novelty: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The same of the glosses."""
    frequencies = [
        (f"glosses {'never' if times == '0' else f'{times} times'} in train", found)
        for times, found in novelty["glosses_by_frequency"].items()
    ]
    pairs = [
        (f"glosses in a {kind} pair", found) for kind, found in novelty["glosses_by_pair"].items()
    ]
    return frequencies + pairs


def _row(name: str, found: dict[str, Any], rate: str, counts: tuple[str, str]) -> TableRow:
    """rate, counts: the keys of the group's figures."""
    first, second = (f"{found[count]:,}" for count in counts)
    interval = interval_cell(found[rate], found[f"{rate}_interval"], found["sentences"])
    return name, _rate(found[rate]), interval, first, second


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
