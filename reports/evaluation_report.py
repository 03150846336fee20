"""report.html of a training run or an evaluation: verdict and WER first, then curves, errors,
sentences, settings.

The page is made from what is already scored; nothing here changes a result. Everything that comes
from files (glosses, ids, signers, paths) is escaped, and nothing in the page runs or is loaded.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.corpus import Corpus, Split
from data.ctc_lengths import TIME_STRIDE
from data.vocabulary import BLANK, Vocabulary
from decoding.alignment import gloss_spans
from decoding.batches import Decoder, decode_split
from decoding.greedy import greedy_decode
from decoding.length_normalization import filtered_decode
from decoding.scoring import SentenceErrors, align, align_pairs, rates
from reports.figures import curves, intervals, posterior_map, signer_box, skeleton
from reports.html_page import table, write_page
from reports.verdict import Verdict

SENTENCES_LISTED = 10  # worst, and best
SENTENCES_MAPPED = 3  # with posteriors and skeletons
SKELETONS_A_SENTENCE = 16
GROUPS_DRAWN = 30  # signers in the figure and the table
RIVALS = 4  # classes in a posterior map that are neither decoded nor in the reference
RIVAL_PROBABILITY = 0.1  # that they reach somewhere
ERRORS_LISTED = 12
STYLE = """
header p { color: var(--muted); } .simulated { border: 1px solid var(--warn); border-left-width: .4rem; color: var(--ink);
  padding: .5rem .8rem; border-radius: .3rem; max-width: none; }
.verdict { background: var(--card); border-radius: .5rem; padding: .9rem 1.1rem; margin: 1rem 0;
  border-left: .4rem solid var(--first); }
.verdict.bad { border-color: var(--bad); } .verdict.good { border-color: var(--good); }
.verdict strong { font-size: 1.15rem; } .verdict p:last-child { margin-bottom: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: .84rem; display: block; line-height: 1.35; }
.tile.first { grid-column: span 2; } .tile.first b { font-size: 2.2rem; line-height: 1.15; }
.tile.tall { grid-row: span 2; } .tile.tall b { font-size: 3rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: .5rem 2.5rem;
  align-items: start; }
.three { grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); }
.grid > * { min-width: 0; } .grid h3 { margin-top: .5rem; } .grid figure { margin: .25rem 0; max-width: 34rem; }
.sentence { margin: .6rem 0 1.1rem; break-inside: avoid; } .sentence p { margin: 0 0 .2rem; overflow-wrap: anywhere; }
.pairs { display: flex; flex-wrap: wrap; gap: .3rem .25rem; }
.pairs span { display: inline-flex; flex-direction: column; padding: .05rem .4rem; border-radius: .25rem;
  background: var(--card); font-size: .87rem; max-width: 100%; overflow-wrap: anywhere; }
.pairs i { font-style: normal; } .pairs .sub { outline: 1.5px solid var(--bad); }
.pairs .del { outline: 1.5px dashed var(--bad); }
.pairs .ins { outline: 1.5px dotted var(--bad); } .pairs .sub i + i, .pairs .ins i { color: var(--bad); font-weight: 600; }
.pairs em { color: var(--muted); }
.moments { display: flex; flex-wrap: wrap; gap: .4rem; margin: .4rem 0; }
.moments figure { width: 6.6rem; margin: 0; background: var(--card); border-radius: .3rem; padding: .2rem; }
.moments figcaption { font-size: .78rem; line-height: 1.25; overflow-wrap: anywhere; } .moments b { color: var(--ink); }
.map { min-width: 38rem; }
@media screen and (prefers-color-scheme: dark) { .map image { filter: brightness(1.6); } }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr); gap: .1rem .9rem; margin: .4rem 0;
  font-size: .9rem; } dt { color: var(--muted); overflow-wrap: anywhere; } dd { margin: 0; }
@media print { .map { min-width: 0; } .tile, .verdict, .pairs span, .moments figure { border: 1px solid var(--line); } }
"""


@dataclass(frozen=True)
class DecodedSplit:
    """A split as one decoder read it. posteriors: log-probs float32 (T', V) of each sentence;
    readings: class indices; hypotheses: the glosses that are scored (those of `readings`, or what a
    clean-up left of them)."""

    corpus: Corpus
    split: Split
    vocabulary: Vocabulary
    posteriors: Sequence[Tensor]
    readings: Sequence[Sequence[int]]
    hypotheses: Sequence[Sequence[str]]

    @property
    def references(self) -> list[tuple[str, ...]]:
        return [sentence.glosses for sentence in self.split.sentences]

    @cached_property
    def aligned(self) -> list[SentenceErrors]:
        return align(self.references, self.hypotheses)

    @property
    def blank_share(self) -> float:
        """Share of steps whose best class is the blank, 0 to 1."""
        best = torch.cat([log_probs.argmax(-1) for log_probs in self.posteriors])
        return float((best == BLANK).double().mean())


@dataclass(frozen=True)
class EvaluationReport:
    """What a report shows besides the reading. result: `scoring.breakdown`; tiles:
    (value, what it is), after the WER's; decoders: rows of `compare_decoders`; settings: {section:
    {key: value}}; environment: {name: value}."""

    title: str
    subtitle: str
    verdict: Verdict
    result: dict
    tiles: Sequence[tuple[str, str]] = ()
    history: Sequence[dict] = ()
    best_epoch: int | None = None
    curves_note: str = ""
    decoders: Sequence[tuple[str, str, dict, float]] = ()
    decoders_note: str = ""
    settings: Mapping[str, Mapping] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)


def write_evaluation_report(path: Path, report: EvaluationReport, reading: DecodedSplit) -> None:
    """Write the page. Raises DataError when it cannot be written."""
    parts = [
        *_header(report, reading),
        *_tiles(report),
        *_curves(report),
        *_decoders(report),
        *_groups(report),
        *_sentences(reading),
        *_maps(reading),
        *_confusions(report, reading),
        *_settings(report, reading.corpus),
    ]
    write_page(path, report.title, parts, STYLE)


def compare_decoders(
    reading: DecodedSplit,
    others: Iterable[tuple[str, str, Decoder]],
    used: tuple[str, str, float],
    clean_up: Callable[[list[str]], Sequence[str]] = list,
) -> list[tuple[str, str, dict, float]]:
    """(name, settings, `scoring.rates`, milliseconds a sentence) of greedy, greedy with the
    confidence filter and `others`, on the reading's posteriors; the reading's own decoder comes
    last, with the name, settings and milliseconds of `used`.

    clean_up: what becomes of a hypothesis before it is scored.
    """
    simple = (
        ("greedy", "the best path", greedy_decode),
        ("filtered", "greedy, without trailing glosses of low confidence", filtered_decode),
    )
    rows = []
    for name, settings, decoder in (*simple, *others):
        if name == used[0]:
            continue
        started = time.perf_counter()
        readings = decode_split(reading.posteriors, decoder)
        taken = 1000 * (time.perf_counter() - started) / len(readings)
        hypotheses = [clean_up(reading.vocabulary.decode(one)) for one in readings]
        rows.append((name, settings, rates(align(reading.references, hypotheses)), taken))
    name, settings, taken = used
    return [*rows, (f"{name} (used above)", settings, rates(reading.aligned), taken)]


def _header(report: EvaluationReport, reading: DecodedSplit) -> list[str]:
    corpus = reading.corpus
    parts = [f"<header><h1>{escape(report.title)}</h1><p>{escape(report.subtitle)}</p></header>"]
    if corpus.simulated:
        parts.append(
            "<p class='simulated'><b>Simulated data.</b> This corpus was acted by simulated signers. The figures show that "
            "the programs work; they say nothing about how well real signers are read.</p>"
        )
    if corpus.composed:
        parts.append(
            "<p class='simulated'><b>Composed sentences.</b> This corpus joins recordings of isolated signs. Continuous "
            "signing is harder to read.</p>"
        )
    tone = {
        "under the target": "good",
        "memorised": "good",
        "not memorised": "bad",
        "unusable": "bad",
    }
    tone |= {"collapsed to blanks": "bad", "not learning": "bad"}
    reasons = "".join(
        f"<p>{escape(_sentence_case(reason))}</p>" for reason in report.verdict.reasons
    )
    headline = f"<strong>{escape(_sentence_case(str(report.verdict)))}</strong>"
    parts.append(
        f"<div class='verdict {tone.get(report.verdict.state, '')}'>{headline}{reasons}</div>"
    )
    return parts


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tiles(report: EvaluationReport) -> list[str]:
    result = report.result
    low, high = result["wer_interval"]
    share = 100 / result["reference_glosses"]
    counts = [
        (f"{result[kind] * share:.2f} %", f"{kind}: {result[kind]:,}")
        for kind in ("substitutions", "deletions", "insertions")
    ]
    size = (f"{result['sentences']:,}", f"sentences, {result['reference_glosses']:,} glosses")
    others = [
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(text)}</span></div>"
        for value, text in (*counts, size, *report.tiles)
    ]
    tall = " tall" if len(report.tiles) > 2 else ""
    first = f"<b>{result['wer']:.2f} %</b><span>word error rate, 95 % interval {low:.2f} to {high:.2f}</span>"
    return [
        f"<div class='tiles'><div class='tile first{tall}'>{first}</div>{''.join(others)}</div>"
    ]


def _curves(report: EvaluationReport) -> list[str]:
    if not report.history:
        return []
    figures = "".join(
        f"<div><h3>{title}</h3><figure>{figure}</figure></div>"
        for title, figure in curves(report.history, report.best_epoch).items()
    )
    note = f"<p class='note'>{escape(report.curves_note)}</p>" if report.curves_note else ""
    return ["<h2>Training</h2>", note, f"<div class='grid'>{figures}</div>"]


def _decoders(report: EvaluationReport) -> list[str]:
    if not report.decoders:
        return []
    rows = []
    for name, settings, found, taken in report.decoders:
        low, high = found["wer_interval"]
        kinds = [str(found[kind]) for kind in ("substitutions", "deletions", "insertions")]
        rows.append(
            (name, f"{found['wer']:.2f}", f"{low:.2f}–{high:.2f}", *kinds, f"{taken:.1f}", settings)
        )
    head = ("decoder", "WER %", "95 % interval", "sub", "del", "ins", "ms a sentence", "settings")
    return [
        "<h2>Decoders</h2>",
        f"<p class='note'>{escape(report.decoders_note)}</p>",
        table(head, rows, text=(0, 7)),
    ]


def _groups(report: EvaluationReport) -> list[str]:
    parts = []
    for title, groups in (
        ("signer", report.result["by_signer"]),
        ("sentence length", report.result["by_length"]),
    ):
        shown, left_out = dict(groups), ""
        if len(shown) > GROUPS_DRAWN:
            largest = sorted(groups, key=lambda name: -groups[name]["reference_glosses"])[
                :GROUPS_DRAWN
            ]
            shown = {name: groups[name] for name in groups if name in set(largest)}
            left_out = (
                f"<p class='note'>The {GROUPS_DRAWN} of {len(groups)} with the most glosses.</p>"
            )
        if title == "sentence length":
            shown = {f"{name} glosses": one for name, one in shown.items()}
        rows = [
            (name, f"{one['wer']:.2f}", f"{one['wer_interval'][0]:.2f}–{one['wer_interval'][1]:.2f}",
             f"{one['sentences']:,}", f"{one['reference_glosses']:,}")
            for name, one in shown.items()
        ]  # fmt: skip
        parts.append(
            f"<div><h3>By {title}</h3>{left_out}<figure>{intervals(shown, report.result['wer'])}</figure>"
            + table((title, "WER %", "95 % interval", "sentences", "glosses"), rows)
            + "</div>"
        )
    return ["<h2>Who and how long</h2>", f"<div class='grid'>{''.join(parts)}</div>"]


def ranked(aligned: Sequence[SentenceErrors]) -> list[int]:
    """Indices of the sentences from the worst to the best: by errors a reference gloss, then by
    errors; of sentences without an error the longest is the best."""

    def badness(index: int) -> tuple:
        one = aligned[index]
        rate = (
            one.errors / one.reference_glosses
            if one.reference_glosses
            else math.inf * bool(one.errors) or 0.0
        )
        return -rate, -one.errors, one.reference_glosses if not one.errors else 0, index

    return sorted(range(len(aligned)), key=badness)


def worst_and_best(aligned: Sequence[SentenceErrors]) -> tuple[list[int], list[int]]:
    """The ten worst sentences, all with errors, and of the others the ten best, the best one first."""
    order = [
        index
        for index in ranked(aligned)
        if aligned[index].reference_glosses or aligned[index].errors
    ]
    worst = [index for index in order[:SENTENCES_LISTED] if aligned[index].errors]
    return worst, order[: len(worst) - 1 if worst else None : -1][:SENTENCES_LISTED]


def _sentences(reading: DecodedSplit) -> list[str]:
    aligned = reading.aligned
    worst, best = worst_and_best(aligned)
    listed = [*worst, *best]
    pairs = dict(
        zip(
            listed,
            align_pairs(
                [reading.references[index] for index in listed],
                [reading.hypotheses[index] for index in listed],
            ),
            strict=True,
        )
    )
    parts = [
        "<h2>Sentences</h2>",
        "<p class='note'>Reference above, hypothesis below. Outlined: a gloss <b>confused</b> (solid), <b>left out</b> "
        "(dashed) or <b>added</b> (dotted).</p>",
    ]
    parts.append("<div class='grid'>")
    for title, chosen in (("worst", worst), ("best", best)):
        inside = "".join(
            _sentence(reading, index, aligned[index], pairs[index]) for index in chosen
        )
        empty = (
            "<p>No sentence has an error.</p>"
            if title == "worst"
            else "<p>All sentences are listed above.</p>"
        )
        parts.append(
            f"<section class='{title}'><h3>The {len(chosen) or ''} {title}</h3>{inside or empty}</section>"
        )
    return [*parts, "</div>"]


def _sentence(
    reading: DecodedSplit,
    index: int,
    errors: SentenceErrors,
    pairs: Sequence[tuple[str | None, str | None]],
) -> str:
    sentence = reading.split.sentences[index]
    wer = (
        f"{100 * errors.errors / errors.reference_glosses:.0f} %"
        if errors.reference_glosses
        else "no reference"
    )
    cells = []
    for said, heard in pairs:
        kind = (
            "ins" if said is None else "del" if heard is None else "sub" if said != heard else "ok"
        )
        above = "<em>added</em>" if said is None else f"<i>{escape(said)}</i>"
        below = "<em>left out</em>" if heard is None else f"<i>{escape(heard)}</i>"
        cells.append(f"<span class='{kind}'>{above}{below}</span>")
    return (
        f"<div class='sentence'><p class='note'><b>{wer}</b> · {escape(sentence.id)} · {escape(sentence.signer)}</p>"
        f"<div class='pairs'>{''.join(cells)}</div></div>"
    )


def _maps(reading: DecodedSplit) -> list[str]:
    """The worst, the middle and the best sentence: skeletons at the decoded glosses, and the
    posteriors below."""
    order = ranked(reading.aligned)
    chosen = sorted(
        {
            round(place)
            for place in np.linspace(0, len(order) - 1, min(SENTENCES_MAPPED, len(order)))
        }
    )
    parts = [
        "<h2>What the model sees</h2>",
        "<p class='note'>The signer in the middle of each decoded gloss, then the probability of each gloss over time: the "
        "stronger the colour, the more probable. Left arm and hand are blue, right ones red. * in the reference but not "
        "decoded, + decoded but not in the reference.</p>",
    ]
    names = {0: "worst", len(order) - 1: "best"}
    for place in chosen:
        parts.append(_map(reading, order[place], f"The {names.get(place, 'middle')} sentence"))
    return parts


def _map(reading: DecodedSplit, index: int, title: str) -> str:
    sentence, log_probs, decoded = (
        reading.split.sentences[index],
        reading.posteriors[index],
        reading.readings[index],
    )
    glosses = reading.vocabulary.decode(decoded)
    step = TIME_STRIDE / reading.corpus.fps
    begins, ends = gloss_spans(
        log_probs[None], torch.tensor([len(log_probs)]), torch.tensor([list(decoded)], dtype=torch.int64).reshape(1, -1),
        torch.tensor([len(decoded)]),
    )  # fmt: skip
    spans = list(zip(begins[0].tolist(), ends[0].tolist(), strict=True))
    said = set(sentence.glosses)
    known = [gloss for gloss in sentence.glosses if gloss in reading.vocabulary]
    classes = map_classes(log_probs, decoded, reading.vocabulary.encode(known))
    labels = []
    for number in classes:
        gloss = "(blank)" if number == BLANK else reading.vocabulary.glosses[number - 1]
        mark = "" if number == BLANK else "+ " if number in decoded and gloss not in said else ""
        mark = "* " if gloss in said and number not in decoded else mark
        labels.append(mark + gloss)
    picture = posterior_map(
        log_probs[:, classes].exp().T.numpy(),
        labels,
        [
            (gloss, begin * step, end * step)
            for gloss, (begin, end) in zip(glosses, spans, strict=True)
        ],
        len(log_probs) * step,
        f"Posteriors of {sentence.id}",
    )
    return (
        f"<div class='keep'><h3>{title}: {escape(sentence.id)} · {escape(sentence.signer)}</h3>"
        f"<p class='note'>reference: {escape(' '.join(sentence.glosses)) or '(empty)'}<br>"
        f"decoded: {escape(' '.join(glosses)) or '(nothing)'}</p>"
        f"<div class='moments'>{_moments(reading, index, glosses, spans)}</div>"
        f"<div class='scroll'><figure class='map'>{picture}</figure></div></div>"
    )


def map_classes(log_probs: Tensor, decoded: Sequence[int], reference: Sequence[int]) -> list[int]:
    """Rows of a posterior map: the decoded classes in their order, those of the reference that were
    not decoded, the strongest others that anywhere reach a probability of 0.1, and the blank.
    log_probs (T', V)."""
    rows = list(dict.fromkeys([*decoded, *reference]))
    highest = log_probs.amax(0).exp()
    rivals = [
        number
        for number in highest.argsort(descending=True).tolist()
        if number not in rows and number != BLANK
    ]
    return [
        *rows,
        *(number for number in rivals[:RIVALS] if highest[number] >= RIVAL_PROBABILITY),
        BLANK,
    ]


def _moments(
    reading: DecodedSplit, index: int, glosses: Sequence[str], spans: Sequence[tuple[int, int]]
) -> str:
    landmarks, detected = reading.split.read(index)
    fps, log_probs = reading.corpus.fps, reading.posteriors[index]
    shown = range(len(glosses))
    if len(glosses) > SKELETONS_A_SENTENCE:
        shown = sorted(
            {round(place) for place in np.linspace(0, len(glosses) - 1, SKELETONS_A_SENTENCE)}
        )
    frames = {
        number: min(TIME_STRIDE * sum(spans[number]) // 2, len(landmarks) - 1) for number in shown
    }
    box = signer_box(
        landmarks[list(frames.values())],
        detected[list(frames.values())],
        reading.corpus.aspect_ratio,
    )
    figures = []
    for number, frame in frames.items():
        begin, end = spans[number]
        confidence = float(log_probs[begin:end, reading.readings[index][number]].max().exp())
        words = f"Skeleton at {frame / fps:.2f} s"
        drawing = skeleton(
            landmarks[frame], detected[frame], reading.corpus.aspect_ratio, box, words
        )
        figures.append(
            f"<figure>{drawing}<figcaption><b>{number + 1} {escape(glosses[number])}</b><br>"
            f"{TIME_STRIDE * begin / fps:.2f}–{TIME_STRIDE * end / fps:.2f} s<br>{100 * confidence:.0f} %</figcaption></figure>"
        )
    return "".join(figures)


def _confusions(report: EvaluationReport, reading: DecodedSplit) -> list[str]:
    common = report.result["most_common"]
    said: dict[str, int] = {}
    for glosses in reading.references:
        for gloss in glosses:
            said[gloss] = said.get(gloss, 0) + 1
    columns = []
    for kind, title, head in (
        ("substitutions", "Confused", "reference → hypothesis"),
        ("deletions", "Left out", "gloss"),
        ("insertions", "Added", "gloss"),
    ):
        rows = []
        for text, count in common[kind][:ERRORS_LISTED]:
            gloss = text.split(" -> ")[0]
            rows.append(
                (
                    text.replace(" -> ", " → "),
                    str(count),
                    "–" if kind == "insertions" else str(said[gloss]),
                )
            )
        inside = table((head, "times", "signed"), rows) if rows else "<p>None.</p>"
        columns.append(f"<div><h3>{title}</h3>{inside}</div>")
    return [
        "<h2>Confusions</h2>",
        f"<p class='note'>The {ERRORS_LISTED} most frequent of each kind; &ldquo;signed&rdquo;: how often the reference gloss "
        "occurs in this split.</p>",
        f"<div class='grid three'>{''.join(columns)}</div>",
    ]


def _settings(report: EvaluationReport, corpus: Corpus) -> list[str]:
    splits = ", ".join(f"{name} {len(split):,} sentences" for name, split in corpus.splits.items())
    known = {
        "name": corpus.describe(),
        "folder": corpus.path,
        "splits": splits,
        "frames/s": f"{corpus.fps:g}",
        "SHA-256 of corpus.json": corpus.fingerprint,
    }
    parts = ["<h2>How it was made</h2>", "<div class='grid'>"]
    for title, values in (("Corpus", known), ("Environment", report.environment)):
        parts.append(f"<div><h3>{title}</h3>{_facts(values)}</div>")
    parts.append("</div><h3>Configuration</h3><div class='grid'>")
    parts += [f"<div>{_facts(values, title)}</div>" for title, values in report.settings.items()]
    return [*parts, "</div>"]


def _facts(values: Mapping[str, object], prefix: str = "") -> str:
    rows = "".join(
        f"<dt>{escape(f'{prefix}.{name}' if prefix else str(name))}</dt><dd>{escape(_plain(value))}</dd>"
        for name, value in values.items()
    )
    return f"<dl>{rows}</dl>"


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
