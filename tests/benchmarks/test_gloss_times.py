import numpy as np
import pytest

from benchmarks.landmarks.gloss_times import agreement, main
from data.corpus_writer import CorpusWriter
from errors import DataError
from tests.data.small_corpus import FACTS, recording


def test_the_agreement_of_times_worked_out_by_hand():
    annotated = np.array([[0, 4], [4, 10], [-1, -1], [10, 12]])
    aligned = np.array([[2, 6], [4, 10], [10, 11], [14, 16]])
    found = agreement(annotated, aligned)
    # Shifts of 2, 0 and 4 frames; 2 of 6 frames shared, all 6, none of 4
    assert (found["glosses"], found["frames"], found["mean shift"]) == (3, 4, 2)
    assert found["deviation"] == pytest.approx(np.std([2, 0, 4]))
    assert found["overlap"] == pytest.approx((2 / 6 + 1 + 0) / 3)


def write(path, times):
    with CorpusWriter(path, **FACTS) as writer:
        writer.split("train").add("s1", "anna", "HELLO WORLD", *recording(9), times)
    return str(path)


def test_two_corpora_are_compared(tmp_path, capsys):
    first = write(tmp_path / "first", [[0, 4], [4, 8]])
    second = write(tmp_path / "second", [[1, 5], [5, 9]])
    assert main(["--annotated", first, "--aligned", second]) == 0
    assert "train  glosses 2.00  frames 4.00  mean shift 1.00" in capsys.readouterr().out
    without = write(tmp_path / "without", None)
    with pytest.raises(DataError, match="share no split with gloss times"):
        main(["--annotated", first, "--aligned", without])
