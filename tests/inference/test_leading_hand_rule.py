"""A model keeps the rule for the leading hand that it was trained with, wherever it is used."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.handedness.leading_hand_rules import BY_SENTENCE, BY_SIGNER
from data.landmarks import LEFT_SHOULDER, LEFT_WRIST, MIRRORED, RIGHT_SHOULDER, RIGHT_WRIST
from inference.model_export import LandmarkModel
from inference.model_on_corpus import open_model_on_corpus
from inference.recognizer import open_recognizer
from models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def held_sign(tiny_corpus, tmp_path_factory) -> Path:
    """A corpus with a recording that holds its left hand up and moves the right one below, and with
    its mirror image. Only the rule `signer` mirrors the first one; both then are the same."""
    random = np.random.default_rng(0)
    landmarks = np.repeat(random.uniform(0.3, 0.7, (1, 543, 3)), 24, axis=0)
    landmarks[:, (LEFT_SHOULDER, RIGHT_SHOULDER), :2] = (0.6, 0.4), (0.4, 0.4)
    landmarks[:, (LEFT_WRIST, RIGHT_WRIST), :2] = (0.65, 0.1), (0.35, 0.8)
    landmarks[:, RIGHT_WRIST, 0] += 0.1 * np.sin(np.arange(24))
    landmarks = np.round(landmarks * 1024) / 1024  # so that mirror images are exact
    mirrored = landmarks[:, MIRRORED]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    path = tmp_path_factory.mktemp("held") / "corpus"
    like = Corpus(tiny_corpus)
    facts = {"fps": like.fps, "aspect_ratio": like.aspect_ratio, "made_by": {"tool": "tests"}}
    with CorpusWriter(path, name="held", **facts) as writer:
        for id, recorded in (("left", landmarks), ("right", mirrored)):
            writer.split("train").add(
                id, "anna", "SUN", recorded.astype(np.float32), np.ones((24, 4), dtype=bool)
            )
    return path


def by_evaluation(checkpoint: Path, corpus: Path) -> list[torch.Tensor]:
    opened = open_model_on_corpus(checkpoint, str(corpus), "cpu")
    return [opened.posteriors_of("train", index) for index in (0, 1)]


def by_transcription(checkpoint: Path, corpus: Path) -> list[torch.Tensor]:
    recognizer, split = open_recognizer(checkpoint, None, "cpu"), Corpus(corpus).split("train")
    return [recognizer.log_probs(*split.read(index)) for index in (0, 1)]


def by_export(checkpoint: Path, corpus: Path) -> list[torch.Tensor]:
    opened, split = open_model_on_corpus(checkpoint, str(corpus), "cpu"), Corpus(corpus)
    model = LandmarkModel(opened.model, opened.corpus.aspect_ratio).eval()
    recordings = [split.split("train").read(index) for index in (0, 1)]
    with torch.no_grad():
        return [
            model(
                torch.from_numpy(landmarks.astype(np.float32))[None],
                torch.from_numpy(np.array(detected))[None],
                torch.tensor([len(landmarks)]),
            )[0]
            for landmarks, detected in recordings
        ]


@pytest.mark.parametrize("outputs", [by_evaluation, by_transcription, by_export])
@pytest.mark.parametrize("rule", [BY_SIGNER, BY_SENTENCE])
def test_a_checkpoint_keeps_its_rule(checkpoint, held_sign, tmp_path, outputs, rule):
    content = load_checkpoint(checkpoint)
    content["config"]["model"].pop("leading_hand")  # as in a checkpoint of version 0.2
    if rule == BY_SIGNER:
        content["config"]["model"]["leading_hand"] = rule
    save_checkpoint(tmp_path / "model.pth", content)
    held, mirrored = outputs(tmp_path / "model.pth", held_sign)
    assert torch.allclose(held, mirrored, atol=1e-3) == (rule == BY_SIGNER)
