import numpy as np
import pytest
import torch

from data.corpus import Split
from data.ctc_targets import pad_targets, prepare_split
from data.sentences import Sentence
from data.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["A", "B", "C"])


def split_of(*rows: tuple[int, str], name: str = "train") -> Split:
    """Sentences of these lengths in frames, with these annotations."""
    sentences = [
        Sentence(f"s{i}", "anna", frames, tuple(text.split()))
        for i, (frames, text) in enumerate(rows)
    ]
    total = sum(frames for frames, _ in rows)
    return Split(name, sentences, np.zeros((total, 543, 3), np.float16), np.ones((total, 4), bool))


def test_sentences_without_a_ctc_loss_have_no_target():
    # 5 frames give 2 steps: A B fits, A A needs a blank between; 9 frames give 3
    prepared = prepare_split(
        split_of((5, "A B"), (5, "A A"), (9, "A A"), (40, "A X"), (4, "A B"), (4, "X Y")),
        VOCABULARY,
    )
    assert prepared.targets == [[1, 2], None, [1, 1], None, None, None]
    assert prepared.unknown_glosses == ["X", "X", "Y"]
    assert prepared.trainable.tolist() == [0, 2] and prepared.trainable.dtype == np.int64
    assert prepared.references[3] == ("A", "X")


def test_classes_are_counted_in_the_sentences_that_are_trained_on():
    prepared = prepare_split(split_of((40, "A B A"), (40, "B D"), (40, "")), VOCABULARY)
    assert prepared.class_counts(VOCABULARY.size).tolist() == [0, 2, 1, 0]


def test_sentences_without_a_ctc_loss_are_counted_by_the_reason():
    """A short sentence with an unknown gloss counts as unknown."""
    prepared = prepare_split(
        split_of((40, "A X"), (4, "X Y"), (40, "Y"), (4, "A A"), (40, "A")), VOCABULARY
    )
    assert prepared.without_loss == {"unknown gloss": 3, "too short": 1}


def test_warnings_name_the_unknown_glosses():
    (line,) = prepare_split(
        split_of((5, "A A"), (40, "X A"), (40, "X"), name="dev"), VOCABULARY
    ).warnings()
    assert "2 occurrences of 1 gloss " in line and line.endswith(": X")
    assert prepare_split(split_of((40, "A")), VOCABULARY).warnings() == []


@pytest.mark.parametrize(
    ("count", "end"), [(8, ": X1, X2, X3, X4, X5, X6, X7, X8"), (9, ", X8 and 1 more")]
)
def test_a_warning_lists_at_most_eight_glosses(count, end):
    glosses = " ".join(f"X{number}" for number in range(count, 0, -1))
    (line,) = prepare_split(split_of((40, glosses)), VOCABULARY).warnings()
    assert f"{count} occurrences of {count} glosses" in line and line.endswith(end)


def test_targets_are_padded_with_zeros_to_int64_tensors():
    targets, lengths = pad_targets([[3, 1], [2], [1, 1, 2]], torch.device("cpu"))
    assert targets.tolist() == [[3, 1, 0], [2, 0, 0], [1, 1, 2]]
    assert lengths.tolist() == [2, 1, 3]
    assert targets.dtype == lengths.dtype == torch.int64
    assert pad_targets([[]], torch.device("cpu"))[0].shape == (1, 1)
