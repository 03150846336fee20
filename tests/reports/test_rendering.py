"""Pages run nothing and load nothing, a browser shows them, and they fit the screen."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from reports.rendering import escape_markdown, write_page

pytestmark = pytest.mark.figures

HOSTILE = {
    "<img/src=x>": ("<b>ann</b>", "<script>alert(1)</script> A&B", "<b64>$x$</b64> A&B"),
    "'\"><svg/onload=1>": ("ü", "HÄUSER 天气", "HÄUSER 天气"),
    "s3": ("x" * 60, "$INDEX $GEST", "$INDEX " + "LONG" * 20),
}


def test_markdown_shows_text_from_files_as_it_is():
    assert escape_markdown("a|b <i> *c* [d]_`\\#&") == (
        "a\\|b \\<i\\> \\*c\\* \\[d\\]\\_\\`\\\\\\#\\&"
    )


def test_a_page_stands_alone_and_forbids_scripts(page, decoded, write_report, tmp_path):
    write_report(decoded, tmp_path / "page.html")
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in [
        attributes for tag, attributes in page.tags if tag == "meta"
    ]
    style = source[source.index("<style>") : source.index("</style>")]
    for words in ("prefers-color-scheme: dark", "@media print", ".verdict.bad", "--first: #1764b8"):
        assert words in style
    assert source.count("<style>") == 1


def test_a_value_that_the_template_lacks_is_an_error(tmp_path):
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        write_page(tmp_path / "page.html", "base.html")


def test_text_from_files_is_shown_and_does_not_run(make_decoded, write_report, tmp_path, recwarn):
    decoded = make_decoded(tmp_path / "corpus", HOSTILE, name="<i>corpus</i>")
    facts = {"<u>": "<script>2</script>"}
    page = write_report(
        decoded,
        tmp_path / "page.html",
        title="<title>",
        subtitle="<s>",
        settings={"<q>": facts},
        environment=facts,
    )
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "b64", "u", "q", "s", "iframe", "link", "object"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for words in (
        "<script>alert(1)</script>",
        "$x$",
        "天气",
        "HÄUSER",
        "$INDEX",
        "<img/src=x>",
        "'\"><svg/onload=1>",
    ):
        assert words in page.text, words
    formula = re.search(r"<text[^>]*>[^<]*\$x\$[^<]*</text>", source)
    assert formula, "a figure shows it as text, not as a formula"
    loaded = re.search(r"(src|href)=.?(?!data:|#)\w", re.sub(r"&[^;]+;[^<]*", "", source))
    assert not loaded, "nothing is loaded"
    assert not recwarn.list, "no warning of missing glyphs or labels that are too long"


def browse(page: Path, tmp_path: Path, width: int = 1280) -> tuple[str, str]:
    """The page's document and console messages in Chromium."""
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("no chromium on this machine")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    ended = subprocess.run(
        [browser, *options, page.as_uri()],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, "\n".join(line for line in ended.stderr.splitlines() if "CONSOLE" in line)


def test_chromium_shows_the_page_without_an_error(finished_run, parse_page, tmp_path):
    document, console = browse(finished_run / "report.html", tmp_path)
    assert console == ""
    (tmp_path / "document.html").write_text(document, encoding="utf-8")
    page = parse_page(tmp_path / "document.html")
    figures = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    for words in (
        "Word error rate of train",
        "Loss of",
        "Substitutions, deletions",
        "Learning rate",
        "by group",
        "Posteriors",
    ):
        assert any(words in label for label in figures), words
    assert sum(tag == "path" for tag, _ in page.tags) > 50
    assert sum(tag == "image" for tag, _ in page.tags) == 3
    # This test hears the console: the page's policy forbids this picture, and Chromium reports it
    spoiled = tmp_path / "spoiled.html"
    source = (finished_run / "report.html").read_text(encoding="utf-8")
    spoiled.write_text(
        source.replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>"), encoding="utf-8"
    )
    assert "Content Security Policy" in browse(spoiled, tmp_path)[1]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(make_decoded, write_report, tmp_path, width):
    decoded = make_decoded(tmp_path / "corpus", HOSTILE)
    settings = {"training": {"data_dir": "/very/long/" + "folder" * 30}}
    environment = {"command": "x" * 300}
    write_report(decoded, tmp_path / "page.html", settings=settings, environment=environment)
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    # The page itself may run no script, so a frame of the screen's width measures it from outside
    script = (
        "var d=this.contentDocument.documentElement;document.title=d.clientWidth+' '+d.scrollWidth"
    )
    frame = (
        f"<iframe style='width:{width}px;height:900px;border:0'"
        f" srcdoc='{html.escape(source)}' onload=\"{script}\"></iframe>"
    )
    (tmp_path / "frame.html").write_text(
        f"<meta charset='utf-8'><title>?</title>{frame}", encoding="utf-8"
    )
    document, _ = browse(tmp_path / "frame.html", tmp_path, 1400)
    visible, needed = map(int, re.search(r"<title>(\d+) (\d+)</title>", document).groups())
    assert width - 20 <= visible <= width and needed == visible
