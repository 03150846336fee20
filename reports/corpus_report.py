"""A corpus on one HTML page: the check's table and findings, lengths, detection, room for CTC, and
a few skeletons.

Left arm and hand are drawn in blue, right ones in red, so that a swapped hand or a wrong axis is
seen at once.
"""

from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data.corpus import Corpus, Split
from data.corpus_check import MAX_LINES, CorpusReport
from data.ctc_lengths import TIME_STRIDE, required_steps
from data.landmarks import PARTS
from reports.html_page import png, table, write_page
from reports.skeleton import draw_skeleton

SENTENCES_DRAWN, FRAMES_DRAWN = 2, 6  # of each split
FREQUENT = 30  # glosses in the table of the most frequent


def write_corpus_report(report: CorpusReport, corpus_path: Path, path: Path) -> None:
    """Write what `check_corpus` found of the corpus, with plots and skeletons, as the HTML file
    `path`. Raises DataError."""
    parts = [f"<h1>{escape(report.description or str(corpus_path))}</h1>", *_findings(report)]
    if report.splits:
        corpus = Corpus(corpus_path)
        facts = f"{corpus.fps:g} frames/s, image width/height {corpus.aspect_ratio:.4g}"
        parts += [
            f"<p>{escape(facts)}; made by {escape(_plain(corpus.facts.get('made_by', '?')))}</p>",
            *_table(report),
        ]
        parts += _plots(corpus, report)
        for name, split in corpus.splits.items():
            parts += _skeletons(name, split, corpus.aspect_ratio)
        parts += _glosses(corpus)
    write_page(path, corpus_path.name, parts)


def _plain(value) -> str:
    """A part of corpus.json as words: 'command extract, workers 2'."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value)


def _findings(report: CorpusReport) -> list[str]:
    lines = []
    for title, found in (("problem", report.problems), ("warning", report.warnings)):
        for kind, texts in found.items():
            lines += [
                f"<p class='{title}'>{title}: {escape(text)}</p>" for text in texts[:MAX_LINES]
            ]
            if len(texts) > MAX_LINES:
                lines.append(
                    f"<p class='{title}'>... and {len(texts) - MAX_LINES} more of this kind ({escape(kind)})</p>"
                )
    verdict = (
        f"broken: {report.problem_count} problems"
        if report.problem_count
        else "whole: no problems were found"
    )
    return [
        f"<p class='{'problem' if report.problem_count else 'verdict'}'><b>{verdict}</b></p>",
        *lines,
    ]


def _table(report: CorpusReport) -> list[str]:
    head, *rows = report.table()
    notes = "".join(f"<p>{escape(line)}</p>\n" for line in report.notes())
    return [table(head, rows), notes]


def _plots(corpus: Corpus, report: CorpusReport) -> list[str]:
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    lengths, seen, room = figure.subplots(1, 3)
    bins = np.histogram_bin_edges(
        np.concatenate([split.lengths for split in corpus.splits.values()]), bins=30
    )
    width = 0.8 / len(corpus.splits)
    for number, (name, split) in enumerate(corpus.splits.items()):
        if len(split) == 0:
            continue
        lengths.hist(split.lengths, bins=bins, alpha=0.6, label=name)
        share = [100 * part for part in report.splits[name].detected]
        seen.bar(np.arange(len(PARTS)) + number * width, share, width, label=name)
        needed = [required_steps(sentence.glosses) for sentence in split.sentences]
        room.plot(
            needed, -(-split.lengths // TIME_STRIDE), ".", markersize=3, alpha=0.6, label=name
        )
    lengths.set(title="length of sentences", xlabel="frames", ylabel="sentences")
    seen.set(title="parts detected", ylabel="% of frames", ylim=(0, 105))
    seen.set_xticks(
        np.arange(len(PARTS)) + 0.4 - width / 2, [part.replace("_", " ") for part in PARTS]
    )
    limit = room.get_xlim()[1]
    room.plot([0, limit], [0, limit], color="tab:red", linewidth=1)
    room.set(
        title="CTC: below the line nothing aligns", xlabel="steps needed", ylabel="steps there are"
    )
    lengths.xaxis.get_major_locator().set_params(integer=True)
    for axes in (lengths, seen, room):
        axes.legend()
    return [
        "<h2>Lengths, detection, alignment</h2>",
        png(figure, "histogram of lengths, detection rates, CTC steps"),
    ]


def _skeletons(name: str, split: Split, aspect_ratio: float) -> list[str]:
    """Frames of a few sentences, evenly spread over split and sentence."""
    parts = [f"<h2>Skeletons of {escape(name)}</h2>"]
    if len(split):
        parts.append(
            "<p>The frame is the image. The signer's left arm and hand are blue, the right ones red; whoever faces the camera "
            "has the left hand on the right side of the picture.</p>"
        )
    for index in sorted(
        {round(place) for place in np.linspace(0, len(split) - 1, SENTENCES_DRAWN)}
        if len(split)
        else ()
    ):
        sentence = split.sentences[index]
        landmarks, detected = split.read(index)
        frames = sorted(
            {round(place) for place in np.linspace(0, len(landmarks) - 1, FRAMES_DRAWN)}
        )
        figure = Figure(figsize=(13, 13 / FRAMES_DRAWN / aspect_ratio + 0.3), layout="constrained")
        for axes, frame in zip(
            figure.subplots(1, FRAMES_DRAWN, squeeze=False)[0], frames, strict=False
        ):
            draw_skeleton(axes, landmarks[frame].astype(np.float64), detected[frame], aspect_ratio)
            axes.set_title(f"frame {frame}", fontsize=9)
        for axes in figure.axes[len(frames) :]:
            axes.set_axis_off()
        parts.append(
            f"<h3>{escape(sentence.id)} &middot; {escape(sentence.signer)} &middot; {sentence.frames} frames</h3>"
        )
        parts.append(f"<p class='glosses'>{escape(' '.join(sentence.glosses))}</p>")
        parts.append(png(figure, f"skeletons of {sentence.id}"))
    return parts


def _glosses(corpus: Corpus) -> list[str]:
    """The most frequent glosses with their counts in each split."""
    counts = {
        name: np.unique(
            [gloss for sentence in split.sentences for gloss in sentence.glosses],
            return_counts=True,
        )
        for name, split in corpus.splits.items()
    }
    tables = {
        name: dict(zip(map(str, found), map(int, number), strict=True))
        for name, (found, number) in counts.items()
    }
    first = next(iter(tables.values()))
    frequent = sorted(first, key=lambda gloss: (-first[gloss], gloss))[:FREQUENT]
    rows = [
        (gloss, *(f"{counts.get(gloss, 0):,}" for counts in tables.values())) for gloss in frequent
    ]
    return ["<h2>Most frequent glosses</h2>", table(("gloss", *tables), rows)]
