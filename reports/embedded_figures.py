"""matplotlib figures as HTML: inline SVG in the page's colours, or an inline PNG.

Draw with the colours INK, MUTED, FIRST and so on. `svg` replaces each of them by the CSS variable
of the same name in base.css, so that the figure follows the reader's light or dark setting.

matplotlib is imported with the first figure: a training then starts about a second sooner.
"""

import base64
import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAGE = "#1d2128", "#5e6672", "#dadee4", "#fefefe"
# Colours of data: colour-blind readers can tell them apart
FIRST, SECOND, THIRD = "#1764b8", "#b8560f", "#7a4aa8"
_CSS_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    PAGE: "page",
    FIRST: "first",
    SECOND: "second",
    THIRD: "third",
}
_MATPLOTLIB: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: a small file, the reader's font, any script
    "svg.hashsalt": "page",  # the same figure has the same ids, and so the same bytes
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


def plot_settings() -> AbstractContextManager[None]:
    """Context for drawing a figure for `svg`: matplotlib uses the page's colours."""
    import matplotlib

    return matplotlib.rc_context(_MATPLOTLIB)


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """A figure of this size in inches; options are those of matplotlib's Figure."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def svg(figure: "Figure", description: str) -> Markup:
    """A figure as inline SVG in the page's colours and font. Screen readers read `description`."""
    buffer = io.StringIO()
    with plot_settings(), warnings.catch_warnings():
        # The browser draws the text with its own fonts
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
    text = re.sub(r"(?<= d=\")[^\"]+", lambda path: _shorten_path(path[0]), text)
    used_ids = set(re.findall(r"(?:#|url\(#)([\w.-]+)", text))
    text = re.sub(r" id=\"([^\"]+)\"", lambda id: id[0] if id[1] in used_ids else "", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _page_colour(colour[0]), text)
    text = re.sub(r">\s+<", "><", text)
    # Without a fixed size, the figure fills the width of its column in the page
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', "", text, count=1)
    opening = Markup('<svg role="img" aria-label="{}" ').format(description)
    return opening + Markup(text.removeprefix("<svg "))


def _shorten_path(path: str) -> str:
    """Round a path's numbers to two decimals: no screen shows a hundredth of a point."""
    return (
        re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path)
        .replace("\n", " ")
        .strip()
    )


def _page_colour(colour: str) -> str:
    return f"var(--{_CSS_VARIABLES[colour]})" if colour in _CSS_VARIABLES else colour


def png(figure: "Figure", description: str) -> Markup:
    """A figure as an inline PNG, for drawings of many points."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(description, data)
