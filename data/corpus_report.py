"""A corpus on one HTML page: the check's table and findings, lengths, detection, room for CTC, and a few skeletons.

The page needs nothing beside it: pictures stand in it. Left arm and hand are drawn in blue, right ones in red, so that a
swapped hand or a wrong axis is seen at once.
"""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.corpus import Corpus, Split
from data.corpus_check import SHOWN, TIME_STRIDE, Report
from data.landmarks import BODY_LINES, FINGER_LINES, PART_SLICES, PARTS
from data.transcripts import required_steps
from errors import DataError

SENTENCES_DRAWN, FRAMES_DRAWN = 2, 6  # of each split
FREQUENT = 30  # glosses in the table of the most frequent
LEFT, RIGHT, MIDDLE = "tab:blue", "tab:red", "0.35"
BODY = tuple(zip(BODY_LINES, (MIDDLE, LEFT, RIGHT, MIDDLE), strict=True))  # lines and their colour
STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; } td, th { padding: .2em .6em; text-align: right; }
td { white-space: nowrap; }
th { border-bottom: 2px solid #888; } td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; display: block; margin: .5em 0 1.5em; } .problem { color: #b00020; } .warning { color: #8a5a00; }
.scroll { overflow-x: auto; } h3 { margin-bottom: 0; overflow-wrap: anywhere; } p.glosses { margin: .2em 0; }
"""


def write_report(report: Report, corpus_path: Path, path: Path) -> None:
    """Write what `check_corpus` found of the corpus, with plots and skeletons, as the HTML file `path`. Raises DataError."""
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
    page = f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(corpus_path.name)}</title>"
    page += f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>\n<body>\n"
    try:
        path.write_text(page + "\n".join(parts) + "\n</body></html>\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _plain(value) -> str:
    """A part of corpus.json as words: 'command extract, workers 2'."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value)


def _findings(report: Report) -> list[str]:
    lines = []
    for title, found in (("problem", report.problems), ("warning", report.warnings)):
        for kind, texts in found.items():
            lines += [f"<p class='{title}'>{title}: {escape(text)}</p>" for text in texts[:SHOWN]]
            if len(texts) > SHOWN:
                lines.append(f"<p class='{title}'>... and {len(texts) - SHOWN} more of this kind ({escape(kind)})</p>")
    verdict = f"broken: {report.problem_count} problems" if report.problem_count else "whole: no problems were found"
    return [f"<p class='{'problem' if report.problem_count else 'verdict'}'><b>{verdict}</b></p>", *lines]


def _table(report: Report) -> list[str]:
    head, *rows = report.table()
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    notes = "".join(f"<p>{escape(line)}</p>\n" for line in report.notes())
    return [f"<div class='scroll'><table><tr>{cells}</tr>\n{body}</table></div>", notes]


def _plots(corpus: Corpus, report: Report) -> list[str]:
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    lengths, seen, room = figure.subplots(1, 3)
    bins = np.histogram_bin_edges(np.concatenate([split.lengths for split in corpus.splits.values()]), bins=30)
    width = 0.8 / len(corpus.splits)
    for number, (name, split) in enumerate(corpus.splits.items()):
        if len(split) == 0:
            continue
        lengths.hist(split.lengths, bins=bins, alpha=0.6, label=name)
        share = [100 * part for part in report.splits[name].detected]
        seen.bar(np.arange(len(PARTS)) + number * width, share, width, label=name)
        needed = [required_steps(sentence.glosses) for sentence in split.sentences]
        room.plot(needed, -(-split.lengths // TIME_STRIDE), ".", markersize=3, alpha=0.6, label=name)
    lengths.set(title="length of sentences", xlabel="frames", ylabel="sentences")
    seen.set(title="parts detected", ylabel="% of frames", ylim=(0, 105))
    seen.set_xticks(np.arange(len(PARTS)) + 0.4 - width / 2, [part.replace("_", " ") for part in PARTS])
    limit = room.get_xlim()[1]
    room.plot([0, limit], [0, limit], color="tab:red", linewidth=1)
    room.set(title="CTC: below the line nothing aligns", xlabel="steps needed", ylabel="steps there are")
    lengths.xaxis.get_major_locator().set_params(integer=True)
    for axes in (lengths, seen, room):
        axes.legend()
    return [
        "<h2>Lengths, detection, alignment</h2>",
        _image(figure, "histogram of lengths, detection rates, CTC steps"),
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
        {round(place) for place in np.linspace(0, len(split) - 1, SENTENCES_DRAWN)} if len(split) else ()
    ):
        sentence = split.sentences[index]
        landmarks, detected = split.read(index)
        frames = sorted({round(place) for place in np.linspace(0, len(landmarks) - 1, FRAMES_DRAWN)})
        figure = Figure(figsize=(13, 13 / FRAMES_DRAWN / aspect_ratio + 0.3), layout="constrained")
        for axes, frame in zip(figure.subplots(1, FRAMES_DRAWN, squeeze=False)[0], frames, strict=False):
            draw_skeleton(axes, landmarks[frame].astype(np.float64), detected[frame], aspect_ratio)
            axes.set_title(f"frame {frame}", fontsize=9)
        for axes in figure.axes[len(frames) :]:
            axes.set_axis_off()
        parts.append(
            f"<h3>{escape(sentence.id)} &middot; {escape(sentence.signer)} &middot; {sentence.frames} frames</h3>"
        )
        parts.append(f"<p class='glosses'>{escape(' '.join(sentence.glosses))}</p>")
        parts.append(_image(figure, f"skeletons of {sentence.id}"))
    return parts


def draw_skeleton(axes: Axes, landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float) -> None:
    """Draw what was detected of one frame, landmarks (543, 3) and detected (4,), in an image of width/height aspect_ratio."""
    points = landmarks[:, :2] * [aspect_ratio, 1]
    pose, face, left, right = (points[PART_SLICES[part]] for part in PARTS)
    if detected[1]:
        axes.plot(*face.T, ".", color="0.6", markersize=0.8)
    if detected[0]:
        for line, colour in BODY:
            axes.plot(*pose[list(line)].T, color=colour, linewidth=1.2)
    for seen, hand, colour in ((detected[2], left, LEFT), (detected[3], right, RIGHT)):
        if seen:
            for finger in FINGER_LINES:
                axes.plot(*hand[list(finger)].T, color=colour, linewidth=0.9)
    axes.set(xlim=(0, aspect_ratio), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")


def _glosses(corpus: Corpus) -> list[str]:
    """The most frequent glosses with their counts in each split."""
    counts = {
        name: np.unique([gloss for sentence in split.sentences for gloss in sentence.glosses], return_counts=True)
        for name, split in corpus.splits.items()
    }
    tables = {
        name: dict(zip(map(str, found), map(int, number), strict=True)) for name, (found, number) in counts.items()
    }
    first = next(iter(tables.values()))
    frequent = sorted(first, key=lambda gloss: (-first[gloss], gloss))[:FREQUENT]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("gloss", *tables))
    rows = "".join(
        f"<tr><td>{escape(gloss)}</td>"
        + "".join(f"<td>{table.get(gloss, 0):,}</td>" for table in tables.values())
        + "</tr>\n"
        for gloss in frequent
    )
    return ["<h2>Most frequent glosses</h2>", f"<table><tr>{head}</tr>\n{rows}</table>"]


def _image(figure: Figure, text: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return f"<img alt='{escape(text)}' src='data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"
