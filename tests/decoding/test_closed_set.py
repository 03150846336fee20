"""The closed-set decoder against torch's CTC loss and the enumeration of all paths; its list."""

import itertools
import math

import pytest
import torch

import decoding.closed_set
from data.vocabulary import Vocabulary
from decoding.closed_set import ClosedSet, make_closed_set, read_sentence_list
from errors import DataError

VOCABULARY = Vocabulary(["A", "B", "C"])


def random_log_probs(steps: int, classes: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(steps, classes, generator=generator)).log_softmax(-1)


def every_sentence(glosses: int, longest: int) -> tuple[tuple[int, ...], ...]:
    """All sentences of the classes 1 to `glosses`, with at most `longest` of them."""
    return tuple(
        sentence
        for length in range(longest + 1)
        for sentence in itertools.product(range(1, glosses + 1), repeat=length)
    )


def by_enumeration(log_probs: torch.Tensor, sentence: tuple[int, ...]) -> float:
    """P of a sentence, summed over every path of classes."""
    total, probabilities = 0.0, log_probs.double().exp().tolist()
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        merged = tuple(one for one, _ in itertools.groupby(path) if one)
        if merged == sentence:
            total += math.prod(row[one] for row, one in zip(probabilities, path, strict=True))
    return total


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_probabilities_are_those_of_all_paths(steps):
    log_probs = random_log_probs(steps, 3)
    sentences = every_sentence(2, 3)
    found = ClosedSet(sentences, "test").log_probabilities(log_probs).exp().tolist()
    expected = [by_enumeration(log_probs, sentence) for sentence in sentences]
    assert found == pytest.approx(expected, abs=1e-12)
    if steps == 1:  # a sentence of two glosses needs two steps, the repeat 1 1 needs three
        assert [sentence for sentence, p in zip(sentences, found, strict=True) if p] == [
            (),
            (1,),
            (2,),
        ]


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_those_of_torch(ctc_log_probability, seed):
    """Long sentences with repeats; a model that is so sure that probabilities are below 1e-308."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 25, (40,), generator=generator).tolist()
    sentences = tuple(
        {tuple(torch.randint(1, 6, (n,), generator=generator).tolist()) for n in lengths}
    )
    log_probs = random_log_probs(60, 6, seed, scale=30.0)
    found = ClosedSet(sentences, "test").log_probabilities(log_probs)
    expected = ctc_log_probability(log_probs, [list(sentence) for sentence in sentences])
    assert expected.min() < -800
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-9)


def test_small_trees_give_the_same_probabilities(monkeypatch):
    log_probs, sentences = random_log_probs(9, 4), every_sentence(3, 4)
    shuffled = tuple(sentences[place] for place in torch.randperm(len(sentences)).tolist())
    one = ClosedSet(shuffled, "test")
    expected = one.log_probabilities(log_probs)
    monkeypatch.setattr(decoding.closed_set, "_MOST_GLOSSES", 7)
    many = ClosedSet(shuffled, "test")
    assert len(one._trees) == 1 and len(many._trees) > 20
    torch.testing.assert_close(many.log_probabilities(log_probs), expected, rtol=0, atol=1e-12)


def test_the_most_probable_sentence_of_each_recording_wins(ctc_log_probability):
    sentences = every_sentence(3, 3)[::-1]
    batch = torch.stack([random_log_probs(8, 4, seed) for seed in range(12)])
    lengths = torch.tensor([8, 7, 6, 5, 4, 3, 2, 1, 8, 8, 3, 2])
    expected = []
    for rows, length in zip(batch, lengths.tolist(), strict=True):
        scores = ctc_log_probability(rows[:length], list(map(list, sentences)))
        expected.append(list(sentences[int(scores.argmax())]))
    decode = ClosedSet(sentences, "test").decode
    assert decode(batch, lengths) == expected
    assert [
        decode(batch[n : n + 1, :length], lengths[n : n + 1])[0]
        for n, length in enumerate(lengths.tolist())
    ] == expected, "neither padding nor the other recordings matter"


def test_of_equally_probable_sentences_the_first_of_the_list_wins():
    even = torch.full((1, 6, 4), 0.25).log()
    for first in ((1, 2), (2, 1), (3, 2)):
        others = [one for one in every_sentence(3, 2) if len(one) == 2 and one[0] != one[1]]
        sentences = (first, *(one for one in others if one != first))
        assert ClosedSet(sentences, "test").decode(even, torch.tensor([6])) == [list(first)]


def test_rounding_does_not_decide_between_equally_probable_sentences():
    """Of steps that are the same forwards and backwards, 1 2 3 and 3 2 1 are equally probable."""
    for seed in range(8):
        half = random_log_probs(10, 4, seed)
        steps = torch.cat([half, half.flip(0)])
        scores = ClosedSet(((1, 2, 3), (3, 2, 1)), "test").log_probabilities(steps)
        assert float((scores[0] - scores[1]).abs()) < 1e-9
        for first, second in (((1, 2, 3), (3, 2, 1)), ((3, 2, 1), (1, 2, 3))):
            decode = ClosedSet((first, second), "test").decode
            assert decode(steps[None], torch.tensor([20])) == [list(first)]


def test_a_sentence_that_needs_more_steps_is_never_chosen():
    log_probs = torch.tensor([[[0.01, 0.98, 0.01]] * 3]).log()
    decode = ClosedSet(((1, 1), (2,), (1, 2, 1, 2)), "test").decode
    assert decode(log_probs, torch.tensor([3])) == [[1, 1]]  # gloss, blank, gloss
    assert decode(log_probs, torch.tensor([2])) == [[2]]
    assert ClosedSet(((1, 1),), "test").decode(log_probs, torch.tensor([2])) == [[]]


def test_the_empty_sentence_is_chosen_only_if_it_is_in_the_list():
    blanks = torch.tensor([[[0.98, 0.01, 0.01]] * 5]).log()
    assert ClosedSet(((1,), ()), "test").decode(blanks, torch.tensor([5])) == [[]]
    assert ClosedSet(((1,), (2, 1)), "test").decode(blanks, torch.tensor([5])) == [[1]]


def test_steps_in_which_nobody_is_seen_have_no_gloss():
    """There the log-probability of every gloss is -1e4 (inference/presence.py)."""
    unseen = torch.tensor([0.0, -1e4, -1e4])
    seen = torch.tensor([0.2, 0.7, 0.1]).log()
    closed = ClosedSet(((1, 2, 1), (2,)), "test")
    batch = torch.stack([torch.stack([unseen] * 4), torch.stack([unseen, seen, seen, unseen])])
    assert closed.decode(batch, torch.tensor([4, 4])) == [[], [2]]


def test_log_probabilities_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        ClosedSet(((1,),), "test").decode(torch.full((1, 2, 3), torch.nan), torch.tensor([2]))


def test_memory_does_not_grow_with_the_list():
    """The largest tensors have a part of the glosses, not all of them times all steps."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 200, (30_000, 8), generator=generator).tolist()
    closed = ClosedSet(tuple(dict.fromkeys(map(tuple, rows))), "test")
    assert len(closed._trees) >= 4
    assert max(len(tree.gloss) for _, tree in closed._trees) <= 50_001


# ------------------------------------------------------------------------------------- the list


def test_a_list_has_distinct_sentences_of_known_glosses(capsys):
    found = make_closed_set(
        [["A", "B"], ["C"], ["A", "B"], ["FOG", "A"], ["A", "FOG"], []], VOCABULARY, "phrases.txt"
    )
    assert found.sentences == ((1, 2), (3,), ()) and found.left_out == 2
    assert str(found) == "closed set, 3 sentences of phrases.txt"
    assert (1, 2) in found and [3] in found and (1,) not in found
    assert capsys.readouterr().out == (
        "closed set: 2 of 5 sentences have glosses outside the model's vocabulary, such as 'FOG', "
        "and are left out\n"
    )


def test_a_list_without_a_usable_sentence_is_refused():
    with pytest.raises(DataError, match=r"phrases\.txt has no sentence: .*one sentence per line"):
        make_closed_set([], VOCABULARY, "phrases.txt")
    with pytest.raises(DataError, match=r"phrases\.txt: all 2 sentences .* such as 'FOG'"):
        make_closed_set([["FOG"], ["A", "FOG"]], VOCABULARY, "phrases.txt")


def test_a_text_file_has_one_sentence_per_line(tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_bytes("\ufeffA  B\r\n\n   \nU\u0308BER\tC\nA B".encode())
    assert read_sentence_list(path) == [("A", "B"), ("\u00dcBER", "C"), ("A", "B")]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"--closed_set .*none\.txt cannot be read: No such file"):
        read_sentence_list(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"--closed_set .* cannot be read: Is a directory"):
        read_sentence_list(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(DataError, match=r"video\.mp4 is not UTF-8 text: expected one sentence"):
        read_sentence_list(tmp_path / "video.mp4")
