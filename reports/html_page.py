"""What the project's HTML pages share: one file with style, tables and pictures in it, that loads
nothing and runs nothing.

A page follows the reader's light or dark setting, a phone's width and paper. Plots are
matplotlib's, as SVG whose colours are the page's: draw with INK, MUTED, FIRST and so on, and `svg`
writes the page's CSS variables in their place.
"""

import base64
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from errors import DataError

# Stand-ins that matplotlib draws with; in the page each is a CSS variable with a light and a dark
# value.
INK, MUTED, GRID, PAGE = "#1d2128", "#5e6672", "#dadee4", "#fefefe"
# Of data: they keep apart for the colour-blind
FIRST, SECOND, THIRD = "#1764b8", "#b8560f", "#7a4aa8"
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    PAGE: "page",
    FIRST: "first",
    SECOND: "second",
    THIRD: "third",
}
_MATPLOTLIB = {
    "svg.fonttype": "none",  # text stays text: small, in the reader's font, any script
    "svg.hashsalt": "page",  # ids, and so the file, do not change from one writing to the next
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a gloss may be written $INDEX
}
STYLE = """
:root { color-scheme: light dark; --ink: #1d2128; --muted: #5e6672; --line: #dadee4; --page: #fff; --card: #f5f6f8;
  --first: #1764b8; --second: #b8560f; --third: #7a4aa8; --bad: #b3202a; --good: #1a7440; --warn: #8a5a00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --muted: #9ca5b2; --line: #363c46; --page: #14171c;
  --card: #1d2229; --first: #6bb0ff; --second: #f0a35c; --third: #c49bf0; --bad: #ff8780; --good: #68cf94; --warn: #e0b050; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 70rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; } p.note, figcaption { color: var(--muted); font-size: .87rem; }
p.problem { color: var(--bad); } p.warning { color: var(--warn); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .7rem .25rem 0; text-align: right; white-space: nowrap; vertical-align: top; }
th { color: var(--muted); font-weight: 600; font-size: .87rem; border-bottom: 1px solid var(--line); }
td.text, th.text { text-align: left; } td.text ~ td.text { white-space: normal; min-width: 21rem; padding-right: 0; }
figure { margin: .75rem 0; } figure > svg, figure > img { display: block; width: 100%; height: auto; }
img { max-width: 100%; background: #fff; border-radius: .3rem; }
svg { font-family: system-ui, sans-serif; } svg * { stroke-linejoin: round; }
@media screen and (max-width: 40rem) { td.text ~ td.text { white-space: nowrap; } }
@media print { body { font-size: 10pt; max-width: none; padding: 0; } h2, h3, p.note { break-after: avoid; }
  table { font-size: 8.5pt; } td, th { padding-right: .4rem; } td.text ~ td.text { min-width: 0; }
  tr, figure, .keep { break-inside: avoid; } .scroll { overflow: visible; } }
"""


def write_page(path: Path, title: str, parts: Iterable[str], style: str = "") -> None:
    """Write the HTML parts as a page; `style` is CSS of its own. Raises DataError when it cannot be
    written."""
    # The policy forbids whatever a page like this has no business doing: scripts, and loading
    # anything at all.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    page = (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
    )
    try:
        # surrogateescape: a path that this locale could not decode is written as the bytes that it
        # is
        path.write_text(
            page + "\n".join(parts) + "\n</body></html>\n",
            encoding="utf-8",
            errors="surrogateescape",
        )
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """An HTML table of plain strings, which are escaped here. Columns numbered in `text` are words,
    the others numbers."""

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = [" class='text'" if column in text else "" for column in range(len(row))]
        return "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{cells(head, 'th')}</tr></thead>\n<tbody>{body}</tbody></table></div>"


def plot_settings():
    """Context in which a figure for `svg` is made: matplotlib with the page's colours."""
    return matplotlib.rc_context(_MATPLOTLIB)


def svg(figure: Figure, description: str) -> str:
    """A figure as inline SVG in the page's colours and font; `description` is what is read out in
    its place."""
    buffer = io.StringIO()
    with plot_settings(), warnings.catch_warnings():
        # The reader's browser draws the text
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL
    )
    text = re.sub(r" font-family: [^;\"]*(;|(?=\"))", "", text)
    text = re.sub(r"(?<= d=\")[^\"]+", lambda path: _short_path(path[0]), text)
    used = set(re.findall(r"(?:#|url\(#)([\w.-]+)", text))
    text = re.sub(r" id=\"([^\"]+)\"", lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _page_colour(found[0]), text)
    text = re.sub(r">\s+<", "><", text)
    opening = f"<svg role='img' aria-label='{escape(description)}' "
    size = re.search(r'width="[\d.]+pt" height="[\d.]+pt" ', text)
    return opening + text[len("<svg ") :].replace(size[0], "", 1)


def _short_path(path: str) -> str:
    """A path's numbers with two decimals: a hundredth of a point is finer than any screen."""
    return (
        re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path)
        .replace("\n", " ")
        .strip()
    )


def _page_colour(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour


def png(figure: Figure, description: str) -> str:
    """A figure as an inline PNG, for drawings of many points."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{escape(description)}' src='data:image/png;base64,{data}'>"
