import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.greedy import best_path, greedy_decode


def log_probs_of(paths: list[list[int]], classes: int = 5) -> torch.Tensor:
    """(B, T, V) in which the given paths are the best classes; behind their ends it is a gloss."""
    longest = max(map(len, paths))
    padded = torch.tensor([path + [1] * (longest - len(path)) for path in paths])
    return torch.nn.functional.one_hot(padded, classes).float().mul(3).log_softmax(-1)


def slow_decode(path: list[int]) -> list[int]:
    glosses, previous = [], 0
    for index in path:
        if index != previous and index != 0:
            glosses.append(index)
        previous = index
    return glosses


paths = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(paths)
def test_equals_the_slow_reference(paths):
    lengths = torch.tensor([len(path) for path in paths])
    assert greedy_decode(log_probs_of(paths), lengths) == [slow_decode(path) for path in paths]


def test_greedy_hypotheses_by_hand():
    paths = [[0, 0, 0], [2], [3, 3, 0, 3, 3, 1], [1, 2, 1], [0, 4, 4, 0]]
    lengths = torch.tensor([len(path) for path in paths])
    assert greedy_decode(log_probs_of(paths), lengths) == [[], [2], [3, 3, 1], [1, 2, 1], [4]]


def test_steps_behind_the_end_have_no_effect():
    log_probs = log_probs_of([[1, 2, 3]])
    assert greedy_decode(log_probs, torch.tensor([2])) == [[1, 2]]
    assert greedy_decode(log_probs, torch.tensor([0])) == [[]]


def test_best_path_marks_where_a_gloss_begins():
    path, begins = best_path(log_probs_of([[0, 2, 2, 0, 2], [1, 3]]), torch.tensor([5, 2]))
    assert path.tolist() == [[0, 2, 2, 0, 2], [1, 3, 0, 0, 0]]
    assert begins.int().tolist() == [[0, 1, 0, 0, 1], [1, 1, 0, 0, 0]]
