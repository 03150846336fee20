"""The readers that are fuzzed, each with good files of its format."""

import contextlib
import io
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from hypothesis import strategies as st

from data.checks.changed_files import warn_of_changed_files
from data.corpus import Corpus
from data.corpus_check import check_corpus
from data.corpus_writer import CorpusWriter
from data.landmarks import PART_SLICES
from data.safe_npy import map_array
from data.sentences import read_sentences
from data.sources.annotations.transcripts import clean_train, read_frames, read_splits
from data.sources.corpora.pickled_array import PickledArray
from data.sources.corpora.safe_pickle import read_pickle
from data.sources.landmark_files import (
    KAGGLE_COLUMNS,
    read_npy,
    read_parquet,
    read_pose,
)
from data.vocabulary import Vocabulary
from decoding.decoders import read_decoder_entry
from decoding.language_model import read_arpa
from distillation.config import StudentConfig
from models.build import load_model
from models.checkpoint import load_checkpoint, save_checkpoint
from settings import read_overrides
from tests.fuzzing.mutations import WORDS, with_odd_values
from training.config import Config
from training.corpus_checks import find_bad_sentences
from training.resume import plan_from_checkpoint, plan_start
from training.setup import prepare_run

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Target:
    """One reader and what it is tried on.

    seeds: good files, content by name. read: reads a file whose content was changed. words: words
    of the format. odd: writes a file with odd values inside, which no checksum shows.
    """

    seeds: dict[str, bytes]
    read: Callable[[Path], object]
    words: list[str]
    odd: Callable[[st.DataObject, Path], None] | None = None


def small_corpus(folder: Path) -> None:
    """Write a corpus of three train sentences and one dev sentence, a few frames each."""
    random = np.random.default_rng(0)
    with CorpusWriter(
        folder, name="small", fps=25, aspect_ratio=0.8, made_by={"tool": "fuzz"}
    ) as writer:
        for split, count in (("train", 3), ("dev", 1)):
            for number in range(count):
                detected = np.ones((5 + number, 4), bool)
                landmarks = random.random((5 + number, 543, 3))
                writer.split(split).add(
                    f"s{number}", "anna", "A B"[: 1 + 2 * (number % 2)], landmarks, detected
                )


def corpus_target(folder: Path) -> Target:
    """The files of a corpus folder, one of them broken."""
    small_corpus(folder / "corpus")
    work = folder / "mutated_corpus"
    shutil.copytree(folder / "corpus", work)
    good = {path.name: path.read_bytes() for path in (folder / "corpus").iterdir()}

    def read(path: Path) -> None:
        kind = path.name.split("-", 1)[1]
        (work / kind).write_bytes(path.read_bytes())
        try:
            corpus = Corpus(work)
            warn_of_changed_files(corpus)
            for split in corpus.splits.values():
                find_bad_sentences(split)
            check_corpus(work)
        finally:
            (work / kind).write_bytes(good[kind])

    return Target(good, read, WORDS["corpus"])


def npy_target(folder: Path) -> Target:
    """numpy arrays of landmarks."""
    arrays = [
        np.random.default_rng(0).random((3, 1629)).astype(kind) for kind in ("<f4", "<f2", ">f8")
    ]
    arrays.append(np.asfortranarray(arrays[0].reshape(3, 543, 3)))

    def read(path: Path) -> None:
        map_array(path).sum()
        read_npy(path)

    return Target(
        {f"{n}.npy": saved(np.save, array) for n, array in enumerate(arrays)}, read, WORDS["npy"]
    )


def npz_target(folder: Path) -> Target:
    """Archives of numpy arrays."""
    array = np.random.default_rng(0).random((3, 1629)).astype("<f2")
    seeds = {
        "a.npz": saved(np.savez, landmarks=array),
        "b.npz": saved(np.savez_compressed, landmarks=array),
    }
    seeds["c.npz"] = saved(np.savez_compressed, landmarks=np.zeros((300, 1629)))
    return Target(seeds, read_npy, WORDS["npz"])


def saved(save: Callable, *arrays, **named) -> bytes:
    """The bytes that numpy's `save` writes."""
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def pose_target(folder: Path) -> Target:
    """Recordings of pose-format."""
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    sizes = {part: where.stop - where.start for part, where in PART_SLICES.items()}
    components = [
        PoseHeaderComponent(
            f"{part.upper()}_LANDMARKS",
            [str(i) for i in range(size)],
            [(0, 1)],
            [(0, 0, 0)],
            "XYZC",
        )
        for part, size in sizes.items()
    ]
    header = PoseHeader(0.2, PoseHeaderDimensions(640, 480, 1000), components)
    values = np.random.default_rng(0).random((2, 1, 543, 3)).astype(np.float32) * 400
    buffer = io.BytesIO()
    Pose(header, NumPyPoseBody(25.0, np.ma.array(values), np.ones((2, 1, 543), np.float32))).write(
        buffer
    )
    return Target({"a.pose": buffer.getvalue()}, read_pose, WORDS["pose"])


def pickle_target(folder: Path) -> Target:
    """Pickles of arrays. The arrays are small, so that most bytes are instructions."""
    content = {
        "00_0001": {"keypoints": np.ones((2, 1), np.float32), "fps": 30.0},
        "00_0002": [np.arange(3), (np.float64(1.5), None, True, "x")],
    }

    def read(path: Path) -> None:
        values = [read_pickle(path)]
        for _ in range(100):  # a container can contain itself
            if not values:
                break
            value = values.pop()
            if isinstance(value, PickledArray):
                value.read()
            elif isinstance(value, (dict, list, tuple)):
                values += value.values() if isinstance(value, dict) else value

    seeds = {f"{protocol}.pkl": pickle.dumps(content, protocol) for protocol in (2, 4, 5)}
    return Target(seeds, read, WORDS["pickle"])


def parquet_target(folder: Path) -> Target:
    """Landmark files of Kaggle's sign recognition competitions."""
    import pyarrow
    from pyarrow import parquet

    rows = [
        (2, part, i, 0.5 + i / 5000, 0.4, 0.0)
        for part, w in PART_SLICES.items()
        for i in range(w.stop - w.start)
    ]
    table = pyarrow.table(
        dict(zip(KAGGLE_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    )
    seeds = {}
    for name, options in (
        ("a.parquet", {}),
        ("b.parquet", {"compression": "none", "use_dictionary": False}),
    ):
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, **options)
        seeds[name] = buffer.getvalue()
    return Target(seeds, read_parquet, WORDS["parquet"])


def csv_target(folder: Path) -> Target:
    """Transcripts of each supported corpus, and the CSV files of a corpus folder."""

    def read(path: Path) -> None:
        kind = path.name.split("-", 1)[1]
        if kind == "stored.csv":
            read_sentences(path)
        elif kind == "frames.csv":
            read_frames(path)
        else:
            splits = read_splits(path)
            clean_train(splits, path)

    texts = {
        "phoenix.csv": (
            "id|folder|signer|annotation\n"
            "01A_1|01A_1/1/*.png|S01|__ON__ REGEN loc-NORD  WIE AUSSEHEN\na|b|c|X Y\n"
        ),
        "phoenix2014t.csv": (
            "name|video|start|end|speaker|orth|translation\na|a/1/*.png|-1|-1|S1|REGEN|es regnet\n"
        ),
        "isharah.csv": "id|gloss\n02_0001|A B\n03_0001|C\n",
        "kaggle.csv": "path,participant_id,sequence_id,sign\na/1.parquet,26734,1000035562,blow\n",
        "stored.csv": "id|signer|frames|annotation\ns1|anna|12|A B\ns2|anna|9|C\n",
        "frames.csv": "id|frames\ns1|12\ns2|9\n",
    }
    return Target({name: text.encode() for name, text in texts.items()}, read, WORDS["csv"])


def yaml_target(folder: Path) -> Target:
    """The shipped configurations."""

    def read(path: Path) -> None:
        kind = StudentConfig if "student" in path.name else Config
        kind().updated(read_overrides(path, kind))

    seeds = {path.name: path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))}
    seeds["all.yaml"] = yaml.safe_dump(Config().to_dict(), sort_keys=False).encode()
    return Target(seeds, read, WORDS["yaml"])


def language_model_target(folder: Path) -> Target:
    """Language models in ARPA format."""
    text = "\\data\\\nngram 1=4\nngram 2=2\n\n"
    text += "\\1-grams:\n-1\t</s>\n-99\t<s>\t-0.3\n-0.5\tA\t-0.2\n-0.6\tB\t-0.1\n\n"
    text += "\\2-grams:\n-0.2\t<s>\tA\n-0.3\tA\tB\n\n\\end\\\n"
    return Target(
        {"a.arpa": text.encode()},
        lambda path: read_arpa(path, Vocabulary(["A", "B"])),
        WORDS["language_model"],
    )


def checkpoint_target(folder: Path) -> Target:
    """A checkpoint of a tiny teacher."""
    small_corpus(folder / "checkpoint_corpus")
    model = {
        "pose_width": 8,
        "face_width": 8,
        "hand_width": 8,
        "fusion_width": 8,
        "inception_widths": [8, 8],
    }
    overrides = {
        "training": {
            "data_dir": str(folder / "checkpoint_corpus"),
            "output_dir": str(folder / "run"),
            "device": "cpu",
        },
        "model": {**model, "conformer_width": 8},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = prepare_run(plan_start(None, overrides)).trainer
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    good = folder / "good.pth"
    save_checkpoint(good, trainer.state())
    content = load_checkpoint(good)
    fingerprint = Corpus(folder / "checkpoint_corpus").fingerprint

    def read(path: Path) -> None:
        checkpoint = load_checkpoint(path)
        read_decoder_entry(checkpoint["decoder"])
        start = plan_from_checkpoint(checkpoint, path, {}, Config()).decide(fingerprint)
        vocabulary = Vocabulary(checkpoint["vocabulary"])
        load_model(checkpoint, path, start.config.model, vocabulary, start.config.training.seed)
        trainer.restore(checkpoint)

    def odd(data: st.DataObject, path: Path) -> None:
        torch.save(with_odd_values(data, {**content, "format_version": 1}), path)

    return Target({"a.pth": good.read_bytes()}, read, WORDS["checkpoint"], odd)


MAKERS = {
    "corpus": corpus_target,
    "npy": npy_target,
    "npz": npz_target,
    "pose": pose_target,
    "pickle": pickle_target,
    "parquet": parquet_target,
    "csv": csv_target,
    "yaml": yaml_target,
    "language_model": language_model_target,
    "checkpoint": checkpoint_target,
}
