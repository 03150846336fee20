"""Which extractor made a corpus, and the warning where a model meets another one's landmarks."""

import numpy as np
import pytest

import evaluate
import train_teacher
from data.corpus import Corpus
from data.extractors import extractor_of, in_words, mixing_warning
from data.sources.corpus_resampling import resample_corpus
from data.sources.splitting import HeldOut, split_corpus
from models.checkpoint import load_checkpoint

HOLISTIC = {"name": "MediaPipe Holistic", "model_complexity": 1, "mediapipe": "0.10.14"}
TASK = {"name": "MediaPipe HolisticLandmarker", "model_sha256": "ab" * 32, "mediapipe": "1.2.3"}
GLOSSES = ["HOUSE RAIN", "SUN WIND", "TOMORROW HOUSE", "RAIN SUN"]


@pytest.fixture
def corpora(make_corpus, tmp_path):
    """The same sentences, once of each extractor."""
    return [
        make_corpus(
            tmp_path / name,
            {"train": GLOSSES, "dev": GLOSSES[:2]},
            made_by={"command": "extract", "extractor": extractor},
        )
        for name, extractor in (("holistic", HOLISTIC), ("task", TASK))
    ]


def test_a_corpus_made_from_another_one_keeps_the_extractor(corpora, tmp_path):
    assert extractor_of(Corpus(corpora[1]).facts) == TASK
    resample_corpus(corpora[1], tmp_path / "resampled", 50)
    assert extractor_of(Corpus(tmp_path / "resampled").facts) == TASK
    split_corpus(tmp_path / "resampled", tmp_path / "parted", by="random", test=HeldOut(0.5))
    assert extractor_of(Corpus(tmp_path / "parted").facts) == TASK


@pytest.mark.parametrize(
    "facts",
    [{}, {"made_by": None}, {"made_by": "me"}, {"made_by": {"source": 3, "extractor": "x"}}],
)
def test_an_unknown_extractor_is_none(facts):
    assert extractor_of(facts) is None


def test_only_other_models_are_another_extractor():
    assert mixing_warning(HOLISTIC, {**HOLISTIC, "mediapipe": "0.10.9"}, "x") is None
    assert mixing_warning(HOLISTIC, None, "x") is None and mixing_warning(None, TASK, "x") is None
    assert "model complexity 2" in str(
        mixing_warning(HOLISTIC, {**HOLISTIC, "model_complexity": 2}, "x")
    )
    assert mixing_warning(TASK, {**TASK, "model_sha256": "cd" * 32}, "x") is not None
    assert mixing_warning(TASK, HOLISTIC, "corpora/x").startswith(
        "warning: corpora/x has landmarks of MediaPipe Holistic with model complexity 1, but the "
        "model was trained on those of MediaPipe HolisticLandmarker with the model file abababab"
    )
    assert in_words({}) == "an unnamed extractor"


def test_evaluation_and_fine_tuning_on_another_extractor_warn(
    corpora, make_settings, execute_run, tmp_path, capsys
):
    holistic, task = map(str, corpora)
    execute_run(make_settings(tmp_path / "run", data_dir=holistic, epochs=1))
    best = str(tmp_path / "run" / "best_model.pth")
    assert load_checkpoint(tmp_path / "run" / "best_model.pth")["corpus"]["extractor"] == HOLISTIC
    capsys.readouterr()
    warning = f"warning: {task} has landmarks of MediaPipe HolisticLandmarker with"
    for data_dir, expected in ((holistic, 0), (task, 1)):
        output = str(tmp_path / f"evaluated{expected}")
        options = ["--checkpoint", best, "--device", "cpu", "--output_dir", output]
        assert evaluate.main([*options, "--data_dir", data_dir]) == 0
        assert capsys.readouterr().out.count(warning) == expected
    options = ["--resume", best, "--output_dir", str(tmp_path / "tuned"), "--dry_run"]
    assert train_teacher.main([*options, "--data_dir", task, "--epochs", "1"]) == 0
    assert capsys.readouterr().out.count(warning) == 1
    assert np.isfinite(Corpus(task).split("train").read(0)[0]).all()
