"""report.html: its figures against a hand-worked case, that nothing in it can run, and that a
browser shows it."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.vocabulary import Vocabulary
from decoding.batches import decode_split
from decoding.greedy import greedy_decode
from decoding.scoring import SentenceErrors, breakdown
from reports.evaluation_report import (
    DecodedSplit,
    EvaluationReport,
    compare_decoders,
    map_classes,
    ranked,
    worst_and_best,
    write_evaluation_report,
)
from reports.figures import signer_box
from reports.verdict import Verdict

pytestmark = pytest.mark.figures

# 8 reference glosses, 3 errors: of anna 2 in 5, of ben 1 in 3.
SENTENCES = {
    "s1": ("anna", "SUN RAIN WIND", "SUN WIND"),
    "s2": ("ben", "RAIN SUN", "RAIN HOUSE SUN"),
    "s3": ("anna", "WIND RAIN", "SUN RAIN"),
    "s4": ("ben", "HOUSE", "HOUSE"),
}
STEPS_A_GLOSS = 3


class Page(HTMLParser):
    """What stands in a page: `text`, and `tables` as rows of cells under the heading before each."""

    def __init__(self, source: str):
        super().__init__()
        self.text, self.tables, self.tags = "", {}, []
        self._heading, self._inside = "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside.append(tag)
        if tag in ("h2", "h3"):
            self._heading = ""
        elif tag == "table":
            self.tables[self._heading] = []
        elif tag == "tr":
            self.tables[self._heading].append([])
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append("")

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._inside:
            return
        self.text += data
        if {"h2", "h3"} & set(self._inside):
            self._heading += data
        elif {"td", "th"} & set(self._inside):
            self.tables[self._heading][-1][-1] += data


def posteriors_of(path: list[int], classes: int) -> torch.Tensor:
    """Log-probs of a sentence that is read as `path`: three steps of 0.9 each, one of blank between
    them."""
    steps = []
    for number in path:
        steps += [number] * STEPS_A_GLOSS + [0]
    probabilities = torch.full((max(len(steps), 1), classes), 0.1 / (classes - 1))
    probabilities[torch.arange(len(steps)), torch.tensor(steps, dtype=torch.int64)] = 0.9
    return probabilities.log()


def make_reading(folder: Path, make_sentence, sentences=SENTENCES, **facts) -> DecodedSplit:
    random = generator("report")
    options = {"name": "hand-worked", "fps": 25, "aspect_ratio": 0.8, "made_by": {}, **facts}
    with CorpusWriter(folder, **options) as writer:
        for id, (signer, reference, heard) in sentences.items():
            landmarks, detected = make_sentence(["SUN"], random)
            frames = 4 * max((STEPS_A_GLOSS + 1) * len(heard.split()), 1)
            rows = np.resize(np.arange(len(landmarks)), frames)
            writer.split("dev").add(id, signer, reference, landmarks[rows], detected[rows])
    corpus = Corpus(folder)
    vocabulary = Vocabulary.from_sentences(
        " ".join(part).split() for _, *part in sentences.values()
    )
    posteriors = [
        posteriors_of(vocabulary.encode(heard.split()), vocabulary.size)
        for _, _, heard in sentences.values()
    ]
    readings = decode_split(posteriors, greedy_decode)
    hypotheses = [vocabulary.decode(reading) for reading in readings]
    assert hypotheses == [heard.split() for _, _, heard in sentences.values()]
    return DecodedSplit(corpus, corpus.split("dev"), vocabulary, posteriors, readings, hypotheses)


def write(reading: DecodedSplit, path: Path, **parts) -> Page:
    result = breakdown(reading.aligned, [sentence.signer for sentence in reading.split.sentences])
    decoders = compare_decoders(reading, [], ("greedy", "the best path", 1.5))
    verdict = Verdict("levelled off", "it has learned.", ("Reasons.",))
    report = EvaluationReport(
        **{
            "title": "A run",
            "subtitle": "dev",
            "verdict": verdict,
            "result": result,
            "decoders": decoders,
        }
        | parts
    )
    write_evaluation_report(path, report, reading)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reading(make_sentence, tmp_path_factory) -> DecodedSplit:
    return make_reading(tmp_path_factory.mktemp("report") / "corpus", make_sentence)


@pytest.fixture(scope="module")
def page(reading, tmp_path_factory) -> Page:
    return write(reading, tmp_path_factory.mktemp("page") / "report.html")


# ---------------------------------------------------------------- values


def test_the_headline_is_the_hand_worked_rate(page):
    assert "37.50 %word error rate, 95 % interval" in page.text
    for kind in ("substitutions", "deletions", "insertions"):
        assert f"12.50 %{kind}: 1" in page.text
    assert "4sentences, 8 glosses" in page.text
    assert (
        page.text.index("Levelled off: it has learned.")
        < page.text.index("37.50 %")
        < page.text.index("Decoders")
    )


def test_rates_by_signer_and_length(page):
    signers = {row[0]: (row[1], *row[3:]) for row in page.tables["By signer"][1:]}
    assert signers == {"anna": ("40.00", "2", "5"), "ben": ("33.33", "2", "3")}
    (length,) = page.tables["By sentence length"][1:]
    assert length[:2] == ["1-5 glosses", "37.50"] and length[3:] == ["4", "8"]
    low, high = map(float, length[2].split("–"))
    assert low < 37.5 < high


def test_the_decoders_table_gives_each_its_own_rate(page, reading):
    rows = {row[0]: row for row in page.tables["Decoders"][1:]}
    assert rows["greedy (used above)"][1:2] + rows["greedy (used above)"][3:] == [
        "37.50", "1", "1", "1", "1.5", "the best path"
    ]  # fmt: skip
    # All confidences are 0.9: the filter's threshold is 0.9, too, and nothing is trimmed.
    assert rows["filtered"][1] == "37.50"

    def silent(log_probs, lengths):
        return [[] for _ in lengths]

    found = compare_decoders(reading, [("silent", "says nothing", silent)], ("greedy", "", 0.0))
    assert {name: one["wer"] for name, _, one, _ in found} == {
        "filtered": 37.5,
        "silent": 100.0,
        "greedy (used above)": 37.5,
    }
    found = compare_decoders(
        reading, [], ("x", "", 0.0), clean_up=lambda glosses: [g for g in glosses if g != "HOUSE"]
    )
    # One insertion less, one deletion more
    assert {name: one["wer"] for name, _, one, _ in found}["greedy"] == 37.5
    assert {name: one["insertions"] for name, _, one, _ in found}["greedy"] == 0


def test_worst_and_best_sentences_with_their_glosses_side_by_side(page):
    worst, best = page.text.split("The 3 worst")[1].split("The 1 best")
    assert [worst.index(id) for id in ("s2", "s3", "s1")] == sorted(
        worst.index(id) for id in ("s2", "s3", "s1")
    )
    assert "50 % · s2 · benRAINRAINaddedHOUSESUNSUN" in worst
    assert "50 % · s3 · annaWINDSUNRAINRAIN" in worst
    assert "33 % · s1 · annaSUNSUNRAINleft outWINDWIND" in worst
    assert "0 % · s4 · benHOUSEHOUSE" in best
    kinds = [attributes.get("class") for tag, attributes in page.tags if tag == "span"]
    assert [kinds.count(kind) for kind in ("sub", "del", "ins", "ok")] == [1, 1, 1, 6]


def test_confusions_with_how_often_each_gloss_was_signed(page):
    assert page.tables["Confused"][1:] == [["WIND → SUN", "1", "2"]]
    assert page.tables["Left out"][1:] == [["RAIN", "1", "3"]]
    assert page.tables["Added"][1:] == [["HOUSE", "1", "–"]]


def test_the_decoded_glosses_stand_where_they_were_signed(page):
    part = page.text.split("The worst sentence: s2")[1]
    # A step is 4 / 25 s; each gloss lasts three of them, then one is blank.
    for words in ("1 RAIN0.00–0.48 s90 %", "2 HOUSE0.64–1.12 s90 %", "3 SUN1.28–1.76 s90 %"):
        assert words in part
    assert "The best sentence: s4" in page.text and "+ HOUSE" in part
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    # s2 in full: the frame is the middle of each gloss, frames 6, 22 and 38 of 25 a second.
    assert [label for label in drawn if "Skeleton" in label][:3] == [
        "Skeleton at 0.24 s", "Skeleton at 0.88 s", "Skeleton at 1.52 s"
    ]  # fmt: skip
    assert sum(label.startswith("Posteriors of") for label in drawn) == 3


def test_corpus_hash_and_settings_stand_in_it(reading, tmp_path):
    settings = {
        "training": {"epochs": 7, "data_dir": None},
        "model": {"inception_widths": [24, 48]},
    }
    page = write(
        reading, tmp_path / "page.html", settings=settings, environment={"git commit": "abc123"}
    )
    assert reading.corpus.fingerprint in page.text and "git commitabc123" in page.text
    for words in ("training.epochs7", "training.data_dir–", "model.inception_widths24, 48"):
        assert words in page.text


def test_simulated_and_composed_data_is_called_so_before_any_figure(make_sentence, page, tmp_path):
    for fact, words in (("simulated", "Simulated data."), ("composed", "Composed sentences.")):
        made = make_reading(tmp_path / fact, make_sentence, **{fact: True})
        shown = write(made, tmp_path / f"{fact}.html")
        assert shown.text.index(words) < shown.text.index("37.50 %")
        assert words not in page.text


# ---------------------------------------------------------------- what is chosen


def errors(wrong: int, glosses: int) -> SentenceErrors:
    return SentenceErrors(
        (), ("X",) * min(wrong, glosses), ("X",) * max(wrong - glosses, 0), glosses
    )


def test_ranking_by_share_then_by_number_and_the_longest_right_one_is_the_best():
    aligned = [errors(0, 2), errors(1, 4), errors(2, 8), errors(0, 9), errors(3, 0), errors(5, 5)]
    assert ranked(aligned) == [4, 5, 2, 1, 0, 3]
    assert worst_and_best(aligned) == ([4, 5, 2, 1], [3, 0])
    many = [errors(n % 3, 4) for n in range(60)]
    worst, best = worst_and_best(many)
    assert len(worst) == len(best) == 10 and not set(worst) & set(best)
    assert {many[n].errors for n in worst} == {2} and {many[n].errors for n in best} == {0}
    assert worst_and_best([errors(0, 3), errors(0, 4)]) == ([], [1, 0])
    assert worst_and_best([errors(1, 3)]) == ([0], [])


def test_rows_of_a_posterior_map():
    log_probs = torch.full((4, 9), 1e-4)
    log_probs[0, 5], log_probs[1, 7], log_probs[2, 8], log_probs[3, 0] = 0.3, 0.2, 0.09, 0.99
    assert map_classes(log_probs.log(), [3, 1, 3], [1, 2]) == [3, 1, 2, 5, 7, 0]
    strong = torch.full((1, 9), 0.11).log()
    assert (
        map_classes(strong, [], []) == [*map_classes(strong, [], [])[:4], 0]
        and len(map_classes(strong, [], [])) == 5
    )


def test_the_drawn_square_holds_what_was_detected():
    landmarks = np.zeros((2, 543, 3))
    landmarks[0, 522:, :2] = [0.5, 0.4]
    landmarks[0, 530, :2] = [0.75, 0.9]
    detected = np.array([[False, False, False, True], [False] * 4])
    x, y, side = signer_box(landmarks, detected, aspect_ratio=2.0)
    assert x == pytest.approx(1.25) and side >= 0.575
    assert y - side / 2 < 0.4 and y + side / 2 > 0.9
    assert signer_box(landmarks, detected & False, aspect_ratio=2.0) == (1.0, 0.5, 2.0)


# ---------------------------------------------------------------- nothing runs, nothing is loaded


HOSTILE = {
    "<img/src=x>": ("<b>ann</b>", "<script>alert(1)</script> A&B", "<b64>$x$</b64> A&B"),
    "'\"><svg/onload=1>": ("ü", "HÄUSER 天气", "HÄUSER 天气"),
    "s3": ("x" * 60, "$INDEX $GEST", "$INDEX " + "LONG" * 20),
}


def test_what_comes_from_files_is_shown_and_not_run(make_sentence, tmp_path, recwarn):
    made = make_reading(tmp_path / "corpus", make_sentence, HOSTILE, name="<i>corpus</i>")
    facts = {"<u>": "<script>2</script>"}
    page = write(
        made,
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
    assert re.search(r"<text[^>]*>[^<]*\$x\$[^<]*</text>", source), (
        "in a figure, too, it is no formula"
    )
    assert not re.search(r"(src|href)=.?(?!data:|#)\w", re.sub(r"&[^;]+;[^<]*", "", source)), (
        "nothing is loaded"
    )
    assert not recwarn.list, (
        "no word about glyphs that matplotlib's font lacks, or labels that are too long"
    )


def test_the_same_page_comes_out_again(reading, tmp_path):
    for name in ("a", "b"):
        write(reading, tmp_path / name, decoders=())  # whose milliseconds differ
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---------------------------------------------------------------- runs and evaluations have one


def test_a_run_s_report_tells_what_result_json_tells(finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    page = Page((finished_run / "report.html").read_text(encoding="utf-8"))
    low, high = result["best_dev_wer_interval"]
    assert (
        f"{result['best_dev_wer']:.2f} %word error rate, 95 % interval {low:.2f} to {high:.2f}"
        in page.text
    )
    assert (
        f"{result['best_epoch']} of 3best epoch" in page.text
        and result["corpus_fingerprint"] in page.text
    )
    greedy = page.tables["Decoders"][-1]
    assert greedy[0] == "greedy (used above)" and greedy[1] == f"{result['greedy_dev_wer']:.2f}"
    headings = [
        "Word error rate",
        "Loss",
        "Errors on dev",
        "Learning rate",
        "By signer",
        "Confusions",
        "Configuration",
    ]
    assert [page.text.index(words) for words in headings] == sorted(
        page.text.index(words) for words in headings
    )
    for words in (
        "25 % target",
        f"best dev {result['greedy_dev_wer']:.2f} % (epoch {result['best_epoch']})",
    ):
        assert words in page.text
    assert (finished_run / "report.html").stat().st_size < 500_000


def test_an_evaluation_s_report_tells_what_its_result_json_tells(finished_run, tmp_path):
    def judge(output: Path, *options) -> tuple[dict, Page]:
        best = finished_run / "best_model.pth"
        argv = [
            "--checkpoint",
            best,
            "--output_dir",
            output,
            "--device",
            "cpu",
            "--decoder",
            "beam",
            *options,
        ]
        assert evaluate.main([str(word) for word in argv]) == 0
        page = Page((output / "report.html").read_text(encoding="utf-8"))
        return json.loads((output / "result.json").read_text()), page

    result, page = judge(tmp_path / "plain")
    assert (
        f"{result['wer']:.2f} %word error rate" in page.text
        and "Evaluation of finished/best_model.pth" in page.text
    )
    greedy, filtered, beam = page.tables["Decoders"][1:]
    of_run = json.loads((finished_run / "result.json").read_text())
    assert (greedy[0], greedy[1]) == ("greedy", f"{of_run['greedy_dev_wer']:.2f}") and filtered[
        0
    ] == "filtered"
    counts = [str(result[kind]) for kind in ("substitutions", "deletions", "insertions")]
    assert (
        beam[0] == "beam (used above)" and beam[1] == f"{result['wer']:.2f}" and beam[3:6] == counts
    )
    assert f"up to epoch {of_run['best_epoch']}. The curves show" in page.text
    _, page = judge(
        tmp_path / "cleaned", "--scoring", "phoenix2014", "--compare_with", tmp_path / "plain"
    )
    assert (
        "after the official clean-up of PHOENIX-2014" in page.text
        and "p = 1.0000compared with" in page.text
    )


def test_a_report_that_fails_is_said_and_costs_nothing(
    execute_run, tiny_settings, tmp_path, capsys, monkeypatch
):
    def broken(*_):
        raise ValueError("no such\ncolour")

    monkeypatch.setattr("reports.evaluation_report.curves", broken)
    tiny_settings["training"]["epochs"] = 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("an older one")
    _, result = execute_run(tiny_settings)
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and told.err.startswith(
        f"warning: {tmp_path / 'run' / 'report.html'} was not written"
    )
    assert (
        "(ValueError: no such colour)" in told.err
        and "report: " not in told.out
        and "run folder: " in told.out
    )
    assert not (tmp_path / "run" / "report.html").exists()
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert (tmp_path / "run" / "MODEL_CARD.md").exists() and (
        tmp_path / "run" / "best_model.pth"
    ).exists()


# ---------------------------------------------------------------- in a browser


def browse(page: Path, tmp_path: Path, width: int = 1280) -> tuple[str, str]:
    """The page's document and console messages, as Chromium ends up with them."""
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
    ]
    ended = subprocess.run(
        [browser, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, encoding="utf-8", errors="replace", timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, "\n".join(line for line in ended.stderr.splitlines() if "CONSOLE" in line)


def test_chromium_shows_it_without_a_complaint(finished_run, tmp_path):
    document, console = browse(finished_run / "report.html", tmp_path)
    assert console == ""
    shown = Page(document)
    figures = [attributes["aria-label"] for tag, attributes in shown.tags if tag == "svg"]
    for words in (
        "Word error rate of train",
        "Loss of",
        "Substitutions, deletions",
        "Learning rate",
        "by group",
        "Posteriors",
    ):
        assert any(words in label for label in figures), words
    assert (
        sum(tag == "path" for tag, _ in shown.tags) > 50
        and sum(tag == "image" for tag, _ in shown.tags) == 3
    )
    # The console is heard at all: the page's policy forbids this picture, and Chromium says so.
    spoiled = tmp_path / "spoiled.html"
    source = (finished_run / "report.html").read_text(encoding="utf-8")
    spoiled.write_text(
        source.replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>"), encoding="utf-8"
    )
    assert "Content Security Policy" in browse(spoiled, tmp_path)[1]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_at_the_width_of(make_sentence, tmp_path, width):
    made = make_reading(tmp_path / "corpus", make_sentence, HOSTILE)
    settings = {"training": {"data_dir": "/very/long/" + "folder" * 30}}
    write(made, tmp_path / "page.html", settings=settings, environment={"command": "x" * 300})
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    # The page itself may run nothing: it is measured from outside, in a frame that is as wide as a
    # phone.
    measure = (
        f"<iframe style='width:{width}px;height:900px;border:0' srcdoc='{html.escape(source)}' onload=\""
        "var d=this.contentDocument.documentElement;document.title=d.clientWidth+' '+d.scrollWidth\"></iframe>"
    )
    (tmp_path / "frame.html").write_text(
        f"<meta charset='utf-8'><title>?</title>{measure}", encoding="utf-8"
    )
    document, _ = browse(tmp_path / "frame.html", tmp_path, 1400)
    visible, needed = map(int, re.search(r"<title>(\d+) (\d+)</title>", document).groups())
    assert width - 20 <= visible <= width and needed == visible
