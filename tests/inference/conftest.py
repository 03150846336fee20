"""What several tests of inference share: trained runs, tiny students, and a toy model."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evaluate
import transcribe
from data.corpus import Corpus
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.timed_gloss import TimedGloss
from distillation.config import StudentConfig
from inference.model_export import LandmarkModel, export_model
from inference.recognizer import Recognizer
from inference.recording_transcription import TranscriptionSummary, transcribe_recording
from inference.recordings import Frame, Recording
from inference.requests import EXPORT_ENDINGS, ExportRequest
from inference.windows import Windows
from models.checkpoint import load_checkpoint, save_checkpoint
from models.student import Student


@pytest.fixture(scope="session")
def adaptive_run(make_settings, execute_run, tmp_path_factory) -> Path:
    """The folder of a run that predicts some glosses of the tiny corpus; its adaptive decoder was
    tuned on dev. Read it only."""
    folder = tmp_path_factory.mktemp("runs") / "adaptive"
    execute_run(make_settings(folder, decoder="adaptive", epochs=12))
    return folder


@pytest.fixture(scope="session")
def checkpoint(adaptive_run) -> Path:
    """The best model of `adaptive_run`. Read it only."""
    return adaptive_run / "best_model.pth"


@pytest.fixture(scope="session")
def student_checkpoints(finished_run, tmp_path_factory) -> dict[str, Path]:
    """An untrained student's and an untrained causal student's checkpoint on the tiny corpus. Read
    them only."""
    folder, found = tmp_path_factory.mktemp("students"), {}
    content = load_checkpoint(finished_run / "best_model.pth")
    content.pop("format_version")
    statistics = {name: content["model"][name] for name in ("feature_mean", "feature_std")}
    for name, causal in (("student", False), ("causal", True)):
        sizes = {
            "pose_width": 8,
            "face_width": 4,
            "hand_width": 8,
            "widths": [12, 16, 20],
            "conformer_width": 8,
            "lstm_hidden": 8,
        }
        config = StudentConfig().updated({"model": {**sizes, "causal": causal}})
        torch.manual_seed(0)
        model = Student(config.model, len(content["vocabulary"]) + 1)
        model.load_state_dict(statistics, strict=False)
        model.train()(torch.randn(3, 40, 6516), torch.tensor([40, 31, 22]))
        found[name] = folder / f"{name}.pth"
        save_checkpoint(
            found[name],
            {**content, "kind": "student", "model": model.state_dict(), "config": config.to_dict()},
        )
    return found


@pytest.fixture(scope="session")
def checkpoints(finished_run, student_checkpoints) -> dict[str, Path]:
    """A teacher's, a student's and a causal student's checkpoint on the tiny corpus. Read them
    only."""
    return {"teacher": finished_run / "best_model.pth", **student_checkpoints}


@pytest.fixture(scope="session", autouse=True)
def converted_once() -> Iterator[None]:
    """torch converts each model to ONNX once. A model with the same weights and constants gets a
    copy of the file."""
    made: dict[str, bytes] = {}
    convert = torch.onnx.export

    def convert_once(model: LandmarkModel, example: tuple, path: Path, **options) -> None:
        weights = hashlib.sha256()
        for name, tensor in model.state_dict().items():
            weights.update(name.encode() + tensor.numpy().tobytes())
        inner = model.model
        heads = inner.prediction.heads, inner.prediction.log_prior.tolist()
        constants = (model.aspect_ratio, model.causal, model.leading_hand, inner.config, heads)
        key = f"{weights.hexdigest()} {constants} {model} {options}"
        if key not in made:
            convert(model, example, path, **options)
            made[key] = path.read_bytes()
        path.write_bytes(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", convert_once)
        yield


@pytest.fixture(scope="session")
def exported(checkpoints, converted_once, tmp_path_factory):
    """exported(name, format, int8) -> exported file of one of `checkpoints`, made once."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def make(name: str, format: str = "onnx", int8: bool = False) -> Path:
        if (name, format, int8) not in made:
            made[name, format, int8] = folder / f"{name}.{int8}{EXPORT_ENDINGS[format][0]}"
            assert export_model(
                ExportRequest(
                    checkpoint=checkpoints[name],
                    format=format,
                    output=made[name, format, int8],
                    int8=int8,
                )
            )
        return made[name, format, int8]

    return make


@pytest.fixture(scope="session")
def sentences(tiny_corpus, tmp_path_factory) -> Path:
    """The tiny corpus's dev sentences, a file each, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("recordings") / "dev sentences"
    folder.mkdir()
    split = Corpus(tiny_corpus).split("dev")
    for index, sentence in enumerate(split.sentences):
        np.save(folder / f"{sentence.id}.npy", split.read(index)[0])
    return folder


@pytest.fixture(scope="session")
def run_evaluate() -> Callable[..., dict]:
    """run_evaluate(checkpoint, output_dir, *options) -> content of result.json."""

    def run(checkpoint: Path, output_dir: Path, *options) -> dict:
        argv = ["--checkpoint", checkpoint, "--output_dir", output_dir, "--device", "cpu", *options]
        assert evaluate.main([str(word) for word in argv]) == 0
        return json.loads((output_dir / "result.json").read_text())

    return run


@pytest.fixture(scope="session")
def run_transcribe() -> Callable[..., int]:
    """run_transcribe(checkpoint, *words of the command line) -> exit code."""

    def run(checkpoint: Path, *words) -> int:
        return transcribe.main(
            [*map(str, words), "--checkpoint", str(checkpoint), "--device", "cpu"]
        )

    return run


def toy_log_probs(landmarks: np.ndarray, detected: np.ndarray) -> torch.Tensor:
    """A model that finds in the first coordinate which class is signed: the most frequent class of
    each step's four frames."""
    classes = landmarks[:, 0, 0].astype(int)
    steps = [
        np.bincount(classes[start : start + 4], minlength=4).argmax()
        for start in range(0, len(classes), 4)
    ]
    return torch.nn.functional.one_hot(torch.tensor(steps), 4).float().mul(5).log_softmax(-1)


TOY_RECOGNIZER = Recognizer(
    toy_log_probs, Vocabulary(["A", "B", "C"]), greedy_decode, "greedy", 25.0, 0.8, "toy", False
)


def signing(sentence: str, frames: int = 12) -> np.ndarray:
    """The class of each frame: every letter for `frames` frames; '-' is no gloss."""
    return np.repeat(
        [0 if letter == "-" else 1 + "ABC".index(letter) for letter in sentence], frames
    )


def toy_recording(
    classes: Iterable[int], fps: float | None = 25.0, times: np.ndarray | None = None
) -> Recording:
    """A recording for the toy model. times: of its frames, in seconds, if `fps` is None."""

    def frames() -> Iterator[Frame]:
        for number, signed in enumerate(classes):
            time = number / fps if times is None else times[number]
            yield Frame(time, np.full((543, 3), signed, np.float16), np.ones(4, bool))

    return Recording(frames(), fps, True, 0, 0.8)


def toy_transcribe(
    classes: Iterable[int], windows: Windows, fps: float | None = 25.0
) -> tuple[list[TimedGloss], TranscriptionSummary]:
    """The glosses of a toy recording, and the summary of its transcription."""
    glosses: list[TimedGloss] = []
    summary = transcribe_recording(
        toy_recording(classes, fps), TOY_RECOGNIZER, windows, on_glosses=glosses.extend
    )
    return glosses, summary


def names(glosses: list[TimedGloss]) -> str:
    return "".join(gloss.gloss for gloss in glosses)


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """A toy model and recordings for it: log_probs, recognizer, signing, recording, transcribe,
    names."""
    return SimpleNamespace(
        log_probs=toy_log_probs,
        recognizer=TOY_RECOGNIZER,
        signing=signing,
        recording=toy_recording,
        transcribe=toy_transcribe,
        names=names,
    )
