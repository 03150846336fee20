"""A corpus on one HTML page: table and findings of the check, lengths, detection, steps for CTC,
frequent glosses and a few skeletons.

Left arm and hand are blue, right arm and hand are red: a swapped hand or a wrong axis is easy to
see.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from data.corpus import Corpus, Split
from data.corpus_check import MAX_LINES, CorpusReport
from data.ctc_lengths import ctc_steps
from data.landmarks import PARTS
from reports.embedded_figures import png
from reports.evenly_spread import evenly_spread
from reports.rendering import write_page
from reports.skeleton import draw_skeleton

SENTENCES_DRAWN, FRAMES_DRAWN = 2, 6  # sentences per split, frames per sentence
FREQUENT = 30  # glosses in the table of the most frequent


def write_corpus_report(report: CorpusReport, corpus_path: Path, path: Path) -> None:
    """Write the findings of `check_corpus`, with plots and skeletons, as the HTML file `path`.
    Raises DataError when a file cannot be read or written."""
    count = report.problem_count
    values: dict[str, Any] = {"table_rows": []}
    if report.splits:
        corpus = Corpus(corpus_path)
        table_head, *table_rows = report.table()
        gloss_head, *gloss_rows = _gloss_table(corpus)
        values = {
            "facts": f"{corpus.fps:g} frames/s, image width/height {corpus.aspect_ratio:.4g}",
            "made_by": _in_words(corpus.facts.get("made_by", "?")),
            "table_head": table_head,
            "table_rows": table_rows,
            "notes": list(report.notes()),
            "plots": _plots(corpus, report),
            "splits": [
                {"name": name, "sentences": _sentences(split, corpus.aspect_ratio)}
                for name, split in corpus.splits.items()
            ],
            "gloss_head": gloss_head,
            "gloss_rows": gloss_rows,
        }
    write_page(
        path,
        "corpus_report.html",
        title=corpus_path.name,
        heading=report.description or str(corpus_path),
        broken=count > 0,
        verdict=f"broken: {count} problem{'s' if count > 1 else ''}"
        if count
        else "ok: no problems were found",
        findings=_findings(report),
        **values,
    )


def _in_words(value: object) -> str:
    """A value of corpus.json in words: 'command extract, workers 2'."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())
    return str(value)


def _findings(report: CorpusReport) -> list[dict[str, Any]]:
    """The problems, then the warnings: per kind the first lines, and how many more there are."""
    return [
        {
            "severity": severity,
            "kind": kind,
            "lines": lines[:MAX_LINES],
            "more": max(len(lines) - MAX_LINES, 0),
        }
        for severity, kinds in (("problem", report.problems), ("warning", report.warnings))
        for kind, lines in kinds.items()
    ]


def _plots(corpus: Corpus, report: CorpusReport) -> Markup:
    """Three plots: lengths of the sentences, detection of the parts, steps that CTC needs."""
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
        shares = [100 * share for share in report.splits[name].detected]
        seen.bar(np.arange(len(PARTS)) + number * width, shares, width, label=name)
        room.plot(
            split.required_steps, ctc_steps(split.lengths), ".", markersize=3, alpha=0.6, label=name
        )
    lengths.set(title="length of sentences", xlabel="frames", ylabel="sentences")
    seen.set(title="parts detected", ylabel="% of frames", ylim=(0, 105))
    seen.set_xticks(
        np.arange(len(PARTS)) + 0.4 - width / 2, [part.replace("_", " ") for part in PARTS]
    )
    limit = room.get_xlim()[1]
    room.plot([0, limit], [0, limit], color="tab:red", linewidth=1)
    room.set(
        title="below the line, CTC cannot align", xlabel="steps needed", ylabel="steps available"
    )
    lengths.xaxis.get_major_locator().set_params(integer=True)
    for axes in (lengths, seen, room):
        axes.legend()
    return png(figure, "histogram of lengths, detection rates, CTC steps")


def _sentences(split: Split, aspect_ratio: float) -> list[dict[str, Any]]:
    """A few sentences with skeletons, evenly spread over the split."""
    drawn = []
    for index in evenly_spread(len(split), SENTENCES_DRAWN):
        sentence = split.sentences[index]
        drawn.append(
            {
                "id": sentence.id,
                "signer": sentence.signer_name,
                "frames": sentence.frames,
                "glosses": " ".join(sentence.glosses),
                "skeletons": _skeletons(split, index, aspect_ratio),
            }
        )
    return drawn


def _skeletons(split: Split, index: int, aspect_ratio: float) -> Markup:
    """Skeletons of a sentence's frames, evenly spread over the sentence."""
    landmarks, detected = split.read(index)
    frames = evenly_spread(len(landmarks), FRAMES_DRAWN)
    figure = Figure(figsize=(13, 13 / FRAMES_DRAWN / aspect_ratio + 0.3), layout="constrained")
    all_axes = figure.subplots(1, FRAMES_DRAWN, squeeze=False)[0]
    for axes, frame in zip(all_axes, frames, strict=False):
        draw_skeleton(axes, landmarks[frame].astype(np.float64), detected[frame], aspect_ratio)
        axes.set_title(f"frame {frame}", fontsize=9)
    for axes in all_axes[len(frames) :]:
        axes.set_axis_off()
    return png(figure, f"skeletons of {split.sentences[index].id}")


def _gloss_table(corpus: Corpus) -> list[tuple[str, ...]]:
    """The most frequent glosses of the first split with their counts in each split, below a row of
    headings."""
    counts = {
        name: Counter(gloss for sentence in split.sentences for gloss in sentence.glosses)
        for name, split in corpus.splits.items()
    }
    first = next(iter(counts.values()))
    frequent = sorted(first, key=lambda gloss: (-first[gloss], gloss))[:FREQUENT]
    rows = [(gloss, *(f"{counted[gloss]:,}" for counted in counts.values())) for gloss in frequent]
    return [("gloss", *counts), *rows]
