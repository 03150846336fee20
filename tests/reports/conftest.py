"""A hand-worked decoded split, its report, and a parser that shows what a page holds."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.vocabulary import Vocabulary
from decoding.batches import DecodedSentences, decode_sentences
from decoding.greedy import greedy_decode
from decoding.scoring import breakdown
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import ComparedDecoder, compare_decoders, compared_decoders
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.verdict import Verdict

# id: (signer, reference, hypothesis). 8 reference glosses, 3 errors: anna 2 of 5, ben 1 of 3.
SENTENCES = {
    "s1": ("anna", "SUN RAIN WIND", "SUN WIND"),
    "s2": ("ben", "RAIN SUN", "RAIN HOUSE SUN"),
    "s3": ("anna", "WIND RAIN", "SUN RAIN"),
    "s4": ("ben", "HOUSE", "HOUSE"),
}
STEPS_PER_GLOSS = 3


class Page(HTMLParser):
    """The content of a page: `text`, `tags`, and `tables` as rows of cells under the heading before
    each. The line breaks of the template between two tags are no text."""

    def __init__(self, source: str):
        super().__init__()
        self.text, self.tables, self.tags = "", {}, []
        self._heading, self._open_tags = "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open_tags.append(tag)
        if tag in ("h2", "h3"):
            self._heading = ""
        elif tag == "table":
            self.tables[self._heading] = []
        elif tag == "tr":
            self.tables[self._heading].append([])
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append("")

    def handle_endtag(self, tag):
        while self._open_tags and self._open_tags.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._open_tags or ("\n" in data and data.isspace()):
            return
        data = data.replace("\n", " ")
        self.text += data
        if {"h2", "h3"} & set(self._open_tags):
            self._heading += data
        elif {"td", "th"} & set(self._open_tags):
            self.tables[self._heading][-1][-1] += data


def posteriors_of(classes: list[int], size: int) -> torch.Tensor:
    """Log-probabilities (T', size) of a sentence that greedy decodes to `classes`: three steps of
    0.9 for each class, one blank step between classes."""
    steps = []
    for number in classes:
        steps += [number] * STEPS_PER_GLOSS + [0]
    probabilities = torch.full((max(len(steps), 1), size), 0.1 / (size - 1))
    probabilities[torch.arange(len(steps)), torch.tensor(steps, dtype=torch.int64)] = 0.9
    return probabilities.log()


GREEDY = ComparedDecoder("greedy", "the best path", greedy_decode)


def decode(
    posteriors: list[torch.Tensor], decoders: dict[str, ComparedDecoder]
) -> DecodedSentences:
    return decode_sentences(
        enumerate(posteriors),
        len(posteriors),
        {name: decoder.decode for name, decoder in decoders.items()},
    )


def comparison(decoded: DecodedSplit, decoders: dict[str, ComparedDecoder], **options):
    """The comparison of decoders on the split; the one that is used took 1.5 ms per sentence."""
    count = len(decoded.split)
    found = decode([decoded.posteriors_of(index) for index in range(count)], decoders)
    found.seconds[list(decoders)[-1]] = 0.0015 * count
    return compare_decoders(decoded, found, decoders.values(), **options)


@pytest.fixture(scope="session")
def parse_page():
    """parse_page(path) -> Page."""
    return lambda path: Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def make_decoded(make_sentence):
    """make_decoded(folder, sentences=SENTENCES, split="dev", **facts of CorpusWriter) ->
    DecodedSplit."""

    def make(folder: Path, sentences=SENTENCES, split="dev", **facts) -> DecodedSplit:
        random = generator("report")
        options = {"name": "hand-worked", "fps": 25, "aspect_ratio": 0.8, "made_by": {}, **facts}
        with CorpusWriter(folder, **options) as writer:
            for id, (signer, reference, hypothesis) in sentences.items():
                landmarks, detected = make_sentence(["SUN"], random)
                frames = 4 * max((STEPS_PER_GLOSS + 1) * len(hypothesis.split()), 1)
                rows = np.resize(np.arange(len(landmarks)), frames)
                writer.split(split).add(id, signer, reference, landmarks[rows], detected[rows])
        corpus = Corpus(folder)
        vocabulary = Vocabulary.from_sentences(
            " ".join(glosses).split() for _, *glosses in sentences.values()
        )
        posteriors = [
            posteriors_of(vocabulary.encode(hypothesis.split()), vocabulary.size)
            for _, _, hypothesis in sentences.values()
        ]
        found = decode(posteriors, compared_decoders(GREEDY, []))
        predictions = found.predictions["greedy"]
        hypotheses = [vocabulary.decode(classes) for classes in predictions]
        assert hypotheses == [hypothesis.split() for _, _, hypothesis in sentences.values()]
        return DecodedSplit(
            corpus,
            corpus.split(split),
            vocabulary,
            posteriors.__getitem__,
            predictions,
            hypotheses,
            found.blank_share,
        )

    return make


@pytest.fixture(scope="session")
def write_report(parse_page):
    """write_report(decoded, path, **fields of EvaluationReport) -> Page."""

    def write(decoded: DecodedSplit, path: Path, **fields) -> Page:
        default = {
            "title": "A run",
            "subtitle": "dev",
            "verdict": Verdict("levelled off", "it has learned.", ("Reasons.",)),
            "result": breakdown(decoded.aligned, decoded.signers),
            "decoders": comparison(decoded, compared_decoders(GREEDY, [])),
        }
        write_evaluation_report(path, EvaluationReport(**(default | fields)), decoded)
        return parse_page(path)

    return write


@pytest.fixture(scope="session")
def decoded(make_decoded, tmp_path_factory) -> DecodedSplit:
    """The hand-worked split."""
    return make_decoded(tmp_path_factory.mktemp("report") / "corpus")


@pytest.fixture(scope="session")
def page(decoded, write_report, tmp_path_factory) -> Page:
    """The hand-worked split's report."""
    return write_report(decoded, tmp_path_factory.mktemp("page") / "report.html")
