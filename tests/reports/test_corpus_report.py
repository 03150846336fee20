"""The page about a corpus: its content, and that nothing in it can run."""

import base64
import re

import pytest

from data.corpus_check import check_corpus
from errors import DataError
from reports.corpus_report import write_corpus_report


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
    assert "nowhere does not exist" in page_of(tmp_path / "nowhere", tmp_path / "page.html")
    corpus = make_corpus(tmp_path / "short", {"train": ["SUN", ("SUN RAIN WIND SUN", 8)]})
    page = page_of(corpus, tmp_path / "page.html")
    assert "broken: 1 problem<" in page and "cannot be aligned: 8 frames give 2 steps" in page


def test_a_page_that_cannot_be_written(make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "small", {"train": ["SUN"]})
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"cannot write .*page\.html: "):
        page_of(corpus, tmp_path / "file" / "page.html")
