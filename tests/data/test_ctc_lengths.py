from itertools import pairwise

import numpy as np
import pytest

from data.ctc_lengths import ctc_steps, frames_of_steps, min_frames, required_steps


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (140, 35)])
def test_output_steps_are_frames_over_four_rounded_up(frames, steps):
    assert ctc_steps(frames) == steps


@pytest.mark.parametrize(
    ("glosses", "steps"),
    [
        ((), 0),
        (("A",), 1),
        (("A", "B"), 2),
        (("A", "A"), 3),
        (("A", "B", "A"), 3),
        (("A", "A", "A", "B", "B"), 8),
    ],
)
def test_equal_neighbours_need_a_blank_step_between_them(glosses, steps):
    assert required_steps(glosses) == steps


@pytest.mark.parametrize("glosses", ["A", "A B", "A A", "A A A", "A B B C", ""])
def test_min_frames_is_the_fewest_frames_that_can_be_aligned(glosses):
    glosses = tuple(glosses.split())
    needed = len(glosses) + sum(left == right for left, right in pairwise(glosses))
    fewest = min_frames(glosses)
    assert ctc_steps(fewest) >= needed
    assert fewest == 1 or ctc_steps(fewest - 1) < needed


def test_lengths_of_many_sentences_at_once():
    assert ctc_steps(np.array([0, 1, 4, 5, 140])).tolist() == [0, 1, 1, 2, 35]
    steps = [0, 1, 2, 35]
    assert [frames_of_steps(one) for one in steps] == [1, 1, 5, 137]
    assert frames_of_steps(np.array(steps)).tolist() == [1, 1, 5, 137]
