"""The results of an extraction become a corpus of one frame rate, and the corpus tells how."""

from fractions import Fraction

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.extraction import extract, merge_shards
from data.sources.extraction_folder import read_facts, result_name, write_result
from errors import DataError
from tests.data.sources.conftest import annotate, working_folder
from tests.data.sources.video_formats.encoding import encode


def with_times(folder, id: str, times: list[float], **facts) -> None:
    """Give a result other times of its frames."""
    path = folder / f"{result_name('train', id)}.npz"
    facts = {**read_facts(path), "frames": len(times), **facts}
    landmarks = np.full((len(times), 543, 3), 0.25, "<f2")
    write_result(path, np.array(times), landmarks, np.ones((len(times), 4), bool), facts)


def test_only_recordings_that_are_resampled_count_as_resampled(tmp_path):
    """The facts about a recording may differ from the times of its frames."""
    folder = working_folder(tmp_path / "0", {"a": {}, "b": {"even": False}, "c": {}, "d": {}})
    with_times(folder, "c", [0, 0.02, 0.04, 0.06], fps=25.0)
    report = merge_shards([folder], tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    assert [one.frames for one in corpus.split("train").sentences] == [2, 2, 2, 2]
    assert corpus.facts["made_by"]["resampled"] == 1
    assert "1 recordings are resampled" in report.warnings[-1]


def test_a_result_whose_times_do_not_rise_is_refused(tmp_path):
    """Earlier versions left such results of AVI files."""
    folder = working_folder(tmp_path / "0", {"a": {}, "b": {}})
    with_times(folder, "b", [0.02, 0.06, 0.08, 0.04])
    with pytest.raises(
        DataError,
        match=r"the result of train 'b': the times of its frames do not rise.*; remove it and "
        "extract again",
    ):
        merge_shards([folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_avi_file_of_another_rate_is_resampled(cv2, tmp_path):
    """Its frames are encoded in another order, and it has no times of its frames."""
    (tmp_path / "input").mkdir()
    options = {"x264-params": "bframes=2:b-adapt=0"}
    for name, format, rate in (("a", "mp4", 25), ("b", "mp4", 25), ("c", "avi", 50)):
        content = encode(
            np.arange(20) * 1000 / rate, format, "libx264", Fraction(1, rate), **options
        )
        (tmp_path / f"input/{name}.{format}").write_bytes(content)
    rows = [f"{name[0]}|{name}|anna|SUN" for name in ("a.mp4", "b.mp4", "c.avi")]
    table = annotate(tmp_path / "annotations", {"train": rows})
    extract(tmp_path / "input", table, tmp_path / "out", workers=1)
    corpus = Corpus(tmp_path / "out")
    assert [one.frames for one in corpus.split("train").sentences] == [20, 20, 10]
    assert corpus.fps == 25 and corpus.facts["made_by"]["resampled"] == 1
