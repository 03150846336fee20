import numpy as np
import pytest
import torch
from torch import nn

from data.pipeline import FeaturePipeline, feature_statistics
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from models.devices import Precision
from models.i3d_teacher import I3DTeacher
from models.masking import MaskedBatchNorm
from training.batchnorm_calibration import calibrate
from training.resume import plan_start
from training.setup import prepare_run

CPU = torch.device("cpu")
SMALL = ModelConfig(
    pose_width=8,
    face_width=8,
    hand_width=8,
    fusion_width=8,
    inception_widths=(8, 8),
    conformer_width=8,
)


@pytest.fixture(scope="module")
def split(tiny_corpus):
    from data.corpus import Corpus

    return Corpus(tiny_corpus).split("train")


@pytest.fixture
def pipeline():
    return FeaturePipeline(0.8, CPU)


@pytest.fixture
def model(split, pipeline):
    torch.manual_seed(0)
    model = I3DTeacher(SMALL, 6).train()
    model.set_statistics(*feature_statistics(pipeline, split))
    return model


def norms(model: nn.Module) -> list[MaskedBatchNorm]:
    return [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if "running" in name}


def all_sentences(split) -> np.ndarray:
    return np.arange(len(split))


@pytest.mark.parametrize(
    ("batch", "tolerance"),
    [
        (16, 5e-3),  # all sentences are one batch
        (5, 1e-2),  # batches of 5, 5 and 2 sentences: 2 must not weigh as much as 5
    ],
)
def test_the_statistics_are_those_of_all_frames_together(
    model, pipeline, split, monkeypatch, batch, tolerance
):
    """Compare the first layer with one pass over all frames, sentence by sentence. No other
    normalisation changes its input. The variance of each batch is the unbiased one, so that small
    batches raise it a little."""
    monkeypatch.setattr("training.batchnorm_calibration._BATCH", batch)
    calibrate(model, pipeline, split, Precision("fp32", CPU), all_sentences(split))
    encoder, seen = model.parts[0], []
    encoder.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].T))
    with torch.no_grad():
        for batch in pipeline.batches(split, [np.array([index]) for index in all_sentences(split)]):
            model.eval()(batch.features, batch.lengths, batch.detected)
    joined = torch.cat(seen).double()
    np.testing.assert_allclose(encoder.norm.running_mean, joined.mean(0), atol=1e-5)
    np.testing.assert_allclose(encoder.norm.running_var, joined.var(0), rtol=tolerance)


def test_calibration_depends_neither_on_earlier_statistics_nor_on_dropout(model, pipeline, split):
    precision = Precision("fp32", CPU)
    calibrate(model, pipeline, split, precision, all_sentences(split))
    first = buffers(model)
    for norm in norms(model):
        norm.running_mean.fill_(7.0)
        norm.running_var.fill_(0.1)
    calibrate(model, pipeline, split, precision, all_sentences(split))
    for name, value in buffers(model).items():
        torch.testing.assert_close(value, first[name], msg=name, rtol=0, atol=0)


def test_calibration_changes_nothing_else(model, pipeline, split):
    before = {
        name: value.clone() for name, value in model.state_dict().items() if "running" not in name
    }
    calibrate(model, pipeline, split, Precision("fp32", CPU), all_sentences(split))
    assert model.training and all(norm.training and norm.momentum == 0.1 for norm in norms(model))
    after = model.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def test_only_the_given_sentences_are_used(model, pipeline, split):
    chosen = all_sentences(split)[::2]
    calibrate(model, pipeline, split, Precision("fp32", CPU), chosen)
    found = buffers(model)
    calibrate(
        model,
        pipeline,
        split.subset(chosen),
        Precision("fp32", CPU),
        all_sentences(split.subset(chosen)),
    )
    for name, value in buffers(model).items():
        torch.testing.assert_close(value, found[name], msg=name)


def test_a_large_split_is_measured_on_evenly_spread_sentences(model, pipeline, split):
    """With a third of the frames as the limit, every third sentence."""
    precision, limit = Precision("fp32", CPU), int(split.lengths.sum()) // 3
    calibrate(model, pipeline, split, precision, all_sentences(split), max_frames=limit)
    found = buffers(model)
    calibrate(model, pipeline, split, precision, all_sentences(split)[::3])
    for name, value in buffers(model).items():
        torch.testing.assert_close(value, found[name], msg=name, rtol=0, atol=0)


def test_the_best_checkpoint_is_calibrated(tiny_settings, execute_run):
    run, _ = execute_run(tiny_settings)
    saved = load_checkpoint(run.folder / "best_model.pth")["model"]
    trainer = prepare_run(plan_start(None, tiny_settings)).trainer
    trainer.model.load_state_dict(saved)
    calibrate(
        trainer.model,
        trainer.pipeline,
        trainer.train.split,
        trainer.precision,
        trainer.plan.trainable,
    )
    measured = buffers(trainer.model)
    assert measured
    for name, value in measured.items():
        assert torch.equal(value, saved[name]), name
