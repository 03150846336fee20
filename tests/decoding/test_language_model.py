import itertools
import math

import pytest
import torch

from data.vocabulary import Vocabulary
from decoding.language_model import (
    read_arpa,
    train_language_model,
    train_language_model_if_small,
)
from errors import DataError
from tests.decoding.arpa_files import write_arpa

TRAIN = [
    s.split()
    for s in (
        "SUN RAIN",
        "SUN RAIN WIND",
        "RAIN",
        "SUN SUN",
        "WIND RAIN WIND",
        "RAIN WIND SUN RAIN",
    )
]
VOCABULARY = Vocabulary(["RAIN", "SNOW", "SUN", "WIND"])  # SNOW is in no sentence


def plain_probability(
    sentences: list[list[str]], words: list[str], before: str, word: str
) -> float:
    """Interpolated Kneser-Ney from the formula, with dictionaries and loops."""
    bigrams: dict[tuple[str, str], int] = {}
    for sentence in sentences:
        path = ["<s>", *sentence, "</s>"]
        for pair in itertools.pairwise(path):
            bigrams[pair] = bigrams.get(pair, 0) + 1

    def discount(counts):
        once, twice = list(counts).count(1), list(counts).count(2)
        return once / (once + 2 * twice) if once and twice else 0.5

    left_contexts = {w: sum(1 for pair in bigrams if pair[1] == w) for w in words}
    kinds, lower = len(bigrams), discount(left_contexts.values())
    seen = sum(1 for count in left_contexts.values() if count)
    unigram = max(left_contexts[word] - lower, 0) / kinds + lower * seen / kinds / len(words)
    following = {pair[1]: count for pair, count in bigrams.items() if pair[0] == before}
    total, d = sum(following.values()), discount(bigrams.values())
    if not total:
        return unigram
    return max(following.get(word, 0) - d, 0) / total + d * len(following) / total * unigram


def test_every_probability_equals_the_formula():
    model = train_language_model(TRAIN, VOCABULARY)
    contexts, words = ["<s>", *VOCABULARY.glosses], ["</s>", *VOCABULARY.glosses]
    for row, before in enumerate(contexts):
        for column, word in enumerate(words):
            expected = plain_probability(TRAIN, words, before, word)
            assert math.exp(model.table[row, column]) == pytest.approx(expected, rel=1e-5), (
                before,
                word,
            )
    assert model.table.exp().sum(1).tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    assert model.table.dtype == torch.float32


def test_probabilities_by_hand():
    """Two sentences, A and A B. The bigrams are <s>A (2 times), A</s>, AB and B</s> (once each). So
    D = 3 / (3 + 2) = 0.6 for bigrams and D' = 2 / (2 + 2) = 0.5 for unigrams."""
    model = train_language_model([["A"], ["A", "B"]], Vocabulary(["A", "B"]))
    unigram_a = 0.5 / 4 + 0.5 * 3 / 4 / 3
    assert math.exp(model.unigram[1]) == pytest.approx(unigram_a)
    assert math.exp(model.table[0, 1]) == pytest.approx((2 - 0.6) / 2 + 0.6 * 1 / 2 * unigram_a)
    assert math.exp(model.table[2, 1]) == pytest.approx(0.6 * unigram_a), (
        "B A is not in the sentences"
    )
    unigram_end = (2 - 0.5) / 4 + 0.5 * 3 / 4 / 3
    assert math.exp(model.table[1, 0]) == pytest.approx((1 - 0.6) / 2 + 0.6 * 2 / 2 * unigram_end)


def test_too_many_glosses_get_no_language_model(monkeypatch, capsys):
    vocabulary = Vocabulary(["A", "B"])
    assert train_language_model_if_small([["A", "B"]], vocabulary) is not None
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("decoding.language_model.MAX_CLASSES", 2)
    assert train_language_model_if_small([["A", "B"]], vocabulary) is None
    assert capsys.readouterr().out.startswith("no language model: the table of 3 classes would")


def test_an_arpa_file_holds_the_model(tmp_path):
    model = train_language_model(TRAIN, VOCABULARY)
    write_arpa(model, VOCABULARY, tmp_path / "model.arpa")
    again = read_arpa(tmp_path / "model.arpa", VOCABULARY)
    assert torch.allclose(again.table, model.table, atol=1e-5)
    lines = (tmp_path / "model.arpa").read_text(encoding="utf-8").splitlines()
    bigrams = lines[lines.index("\\2-grams:") + 1 : lines.index("\\end\\") - 1]
    assert lines[:3] == ["\\data\\", "ngram 1=6", f"ngram 2={len(bigrams)}"]
    assert len(bigrams) == len(
        {pair for s in TRAIN for pair in itertools.pairwise(["<s>", *s, "</s>"])}
    )
    fields = next(line for line in lines if line.endswith("<s> SUN")).split()
    assert 10 ** float(fields[0]) == pytest.approx(math.exp(model.table[0, 3]), rel=1e-4)


def test_glosses_of_an_arpa_file_are_compared_in_one_unicode_form(tmp_path):
    composed, decomposed = Vocabulary(["GR\u00dcN"]), Vocabulary(["GRU\u0308N"])
    model = train_language_model([["GR\u00dcN"]], composed)
    for written, other in ((composed, decomposed), (decomposed, composed)):
        write_arpa(model, written, tmp_path / "model.arpa")
        again = read_arpa(tmp_path / "model.arpa", other)
        assert torch.allclose(again.table, model.table, atol=1e-5)


LARGER = """\\data\\
ngram 1=6
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.5
-1.0\t</s>
-0.6\tSUN\t-0.25
-0.7\tRAIN\t-0.125
-0.9\tTANK\t-0.1

\\2-grams:
-0.2\t<s> SUN\t-0.3
-0.3\tSUN RAIN
-0.1\tSUN TANK

\\3-grams:
-0.05\t<s> SUN RAIN

\\end\\
"""


def test_only_unigrams_and_bigrams_of_the_vocabulary_are_read_from_a_larger_model(tmp_path):
    path = tmp_path / "larger.arpa"
    path.write_text(LARGER)
    model = read_arpa(path, Vocabulary(["RAIN", "SNOW", "SUN"]))
    log10 = (model.table.double() / math.log(10)).tolist()
    start, rain, snow, sun = log10
    assert start == pytest.approx([-0.5 - 1.0, -0.5 - 0.7, -0.5 - 1.5, -0.2], abs=1e-6)
    assert sun == pytest.approx([-0.25 - 1.0, -0.3, -0.25 - 1.5, -0.25 - 0.6], abs=1e-6)
    assert rain == pytest.approx([-1.125, -0.825, -1.625, -0.725], abs=1e-6)
    assert snow == pytest.approx([-1.0, -0.7, -1.5, -0.6], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "is not an ARPA file"),
        (LARGER.replace("-0.6\tSUN", "x\tSUN"), "line 10: expected '<log10> <1 words>"),
        (LARGER.replace("-0.3\tSUN RAIN", "-0.3\tSUN"), "line 16: expected '<log10> <2 words>"),
        (
            LARGER.replace("SUN", "SOL").replace("RAIN", "PLUIE"),
            "no unigram for any of the 2 glosses",
        ),
        # Cut short within a section and before the end, then damaged
        (LARGER.split("-0.7")[0], r"cut short: .* no .end., .*: copy it again"),
        (LARGER.split("\\end")[0], r"cut short: .* no .end., .*: copy it again"),
        (LARGER.replace("-0.1\tSUN TANK\n", ""), "has 2 2-grams, expected 3 .*: copy it again"),
        (
            LARGER.replace("ngram 1=6", "ngram  1=  5"),
            "has 6 1-grams, expected 5 .*: copy it again",
        ),
        (LARGER.replace("ngram 2=3\n", ""), "has 3 2-grams, expected 0 .*: copy it again"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "broken.arpa"
    path.write_text(text)
    with pytest.raises(DataError, match=message.replace("\\", "\\\\")) as error:
        read_arpa(path, Vocabulary(["RAIN", "SUN"]))
    assert "\n" not in str(error.value)


def test_a_missing_file_and_unusable_transcripts_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: .*: expected an ARPA file"):
        read_arpa(tmp_path / "none.arpa", VOCABULARY)
    with pytest.raises(DataError, match="1 glosses outside the vocabulary, first 'FOG'"):
        train_language_model([["SUN", "FOG"]], VOCABULARY)
    with pytest.raises(DataError, match="no sentences"):
        train_language_model([], VOCABULARY)
