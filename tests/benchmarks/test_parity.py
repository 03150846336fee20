"""The comparison of two extractors, and the model file that it packs."""

import zipfile

import numpy as np
import pytest

from benchmarks.landmarks import parity, task_file
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.landmarks import LEFT_SHOULDER, RIGHT_SHOULDER
from data.sources.trackers import TASK_FILES
from errors import DataError, UsageError
from tests.mediapipe_support import why_no_tracking


def write(path, landmarks, detected):
    with CorpusWriter(path, name="x", fps=25, aspect_ratio=2.0, made_by={}) as writer:
        writer.split("train").add("a", "anna", "SUN", landmarks, detected)
    return path


@pytest.fixture
def corpora(tmp_path):
    """Shoulders 0.25 of the width apart; the second face is 0.025 of the height lower, and
    its right hand is missing in one frame."""
    landmarks = np.full((4, 543, 3), 0.5, np.float32)
    landmarks[:, LEFT_SHOULDER, 0], landmarks[:, RIGHT_SHOULDER, 0] = 0.625, 0.375
    detected = np.ones((4, 4), bool)
    detected[:, 2] = False
    other, seen = landmarks.copy(), detected.copy()
    other[:, 33:501, 1] += 0.025
    seen[1, 3] = False
    return write(tmp_path / "a", landmarks, detected), write(tmp_path / "b", other, seen)


def test_distances_are_in_shoulder_widths_and_frames_are_counted(corpora, capsys):
    figures = parity.compare(*map(Corpus, corpora))
    # 0.025 of the height are 0.0125 of the width, a twentieth of the shoulders
    assert figures["face apart"] == pytest.approx(5, rel=0.01)
    assert figures["upper body apart"] == figures["face frame to frame"] == 0
    assert [figures[f"right hand {name}"] for name in ("both", "only first", "only second")] == [
        *(3, 1, 0)
    ]
    assert figures["left hand both"] == 0 and np.isnan(figures["left hand apart"])
    assert parity.main(["--first", str(corpora[0]), "--second", str(corpora[1])]) == 0
    assert "upper_body_apart: 0" in capsys.readouterr().out


def test_other_sentences_and_missing_options_are_refused(corpora, tmp_path):
    longer = write(tmp_path / "c", np.zeros((5, 543, 3), np.float32), np.ones((5, 4), bool))
    with pytest.raises(DataError, match="other sentences or frames"):
        parity.compare(Corpus(corpora[0]), Corpus(longer))
    with pytest.raises(UsageError, match="expected --pack FILE, or --first DIR and --second DIR"):
        parity.main(["--first", str(longer)])
    (tmp_path / "there").write_text("x")
    with pytest.raises(UsageError, match="exists already"):
        parity.main(["--pack", str(tmp_path / "there")])


def test_the_packed_model_file(tmp_path):
    if (reason := why_no_tracking()) is not None:
        with pytest.raises(UsageError, match="needs the models"):
            task_file.pack(tmp_path / "x.task")
        pytest.skip(reason)
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    task_file.pack(tmp_path / "x.task")
    with zipfile.ZipFile(tmp_path / "x.task") as archive:
        assert set(archive.namelist()) == set(TASK_FILES)
        face = archive.read("face_landmarks_detector.tflite")
    model = tflite.Model.GetRootAsModel(face, 0)
    graph = model.Subgraphs(0)
    shapes = [list(graph.Tensors(number).ShapeAsNumpy()) for number in graph.OutputsAsNumpy()]
    assert [1, 1, 1, 3 * 478] in shapes
    assert model.Metadata(0).Name() == b"TFLITE_METADATA"
