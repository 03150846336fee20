"""The page about a corpus: its content, and that nothing in it can run."""

import base64
import re
import resource

import pytest

from data.corpus_check import check_corpus
from errors import DataError
from reports.corpus_report import write_corpus_report
from tests.conftest import run_in_child


def page_of(corpus, path):
    write_corpus_report(check_corpus(corpus), corpus, path)
    return path.read_text(encoding="utf-8")


def test_the_page_has_the_findings_of_the_check_and_its_pictures(make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "small", {"train": ["SUN RAIN", "WIND"], "dev": ["HOUSE"]})
    page = page_of(corpus, tmp_path / "page.html")
    for line in check_corpus(corpus).notes():
        assert line.split(":")[0] in page
    assert "split &#39;dev&#39; has 1 glosses (1 of 1 tokens) that are not in train" in page
    assert "ok: no problems were found" in page
    pictures = re.findall('src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 1 + 2 + 1  # the plots, two sentences of train and one of dev
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert page.count("src=") == len(pictures) and "http:" not in page and "https:" not in page


def test_ids_and_glosses_are_shown_and_do_not_run(make_corpus, tmp_path):
    corpus = make_corpus(
        tmp_path / "x<b>",
        {"train": ["<script>alert(1)</script> A&B", "SUN"]},
        made_by={"tool": "<i>"},
    )
    table = corpus / "train.csv"
    table.write_text(table.read_text().replace("train-00", "'><img src=x>"))
    page = page_of(corpus, tmp_path / "page.html")
    assert (
        "<script" not in page
        and "src=x>" not in page.replace("&lt;img src=x&gt;", "")
        and "<i>" not in page
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt; A&amp;B" in page
    assert "&#39;&gt;&lt;img src=x&gt;" in page


def test_a_broken_corpus_has_a_page_too(make_corpus, tmp_path):
    nothing = make_corpus(tmp_path / "nothing", {})
    assert "there is no split &#39;train&#39;" in page_of(nothing, tmp_path / "page.html")
    corpus = make_corpus(tmp_path / "short", {"train": ["SUN", ("SUN RAIN WIND SUN", 8)]})
    page = page_of(corpus, tmp_path / "page.html")
    assert "broken: 1 problem<" in page and "cannot be aligned: it has 2 steps (8 frames)" in page


def test_a_page_that_cannot_be_written(make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "small", {"train": ["SUN"]})
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"cannot write .*page\.html: "):
        page_of(corpus, tmp_path / "file" / "page.html")


def test_on_a_full_disk_the_earlier_page_stays_and_nothing_else(make_corpus, tmp_path):
    report = check_corpus(make_corpus(tmp_path / "small", {"train": ["SUN"]}))
    (tmp_path / "pages").mkdir()

    def write_page_on_a_full_disk() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        with pytest.raises(DataError, match=r"cannot write .*page\.html: File too large"):
            write_corpus_report(report, tmp_path / "small", tmp_path / "pages" / "page.html")
        return " ".join(path.read_text() for path in (tmp_path / "pages").iterdir())

    assert run_in_child(write_page_on_a_full_disk) == ""
    (tmp_path / "pages" / "page.html").write_text("earlier")
    assert run_in_child(write_page_on_a_full_disk) == "earlier"
