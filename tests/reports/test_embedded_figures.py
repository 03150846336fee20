"""Figures inside a page: the page's colours, small files, text for screen readers."""

from markupsafe import Markup
from matplotlib.figure import Figure

from reports.embedded_figures import FIRST, png, svg


def draw() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1], color=FIRST, label="$INDEX")
    return figure


def test_an_svg_has_the_colours_of_the_page_and_no_fixed_size():
    figure = svg(draw(), "a <b> & 'c'")
    assert isinstance(figure, Markup) and figure.startswith('<svg role="img" aria-label="a &lt;b')
    assert "var(--first)" in figure and FIRST not in figure
    assert "viewBox" in figure and 'width="' not in figure.split(">")[0]
    assert "<style" not in figure and "<metadata" not in figure


def test_the_same_figure_gives_the_same_svg():
    assert svg(draw(), "x") == svg(draw(), "x")


def test_a_png_is_inside_the_page():
    picture = png(draw(), 'a "b"')
    assert picture.startswith('<img alt="a &#34;b&#34;" src="data:image/png;base64,iVBOR')
