"""Every reader of files against broken ones: only the project's own errors may come out, within
bounded memory and time.

    python benchmarks/fuzz.py                          # 10,000 inputs for each reader
    python benchmarks/fuzz.py --only yaml npy --count 500 --seed 7

Hypothesis draws mutations of good files: bits and bytes changed, parts cut out, repeated or
inserted, lengths and counts overwritten with large numbers, words of the format put in other
places. Checkpoints are also made anew with odd values inside, which no checksum gives away. Each
reader runs in a process of its own that may take 1 GiB beyond its start and 10 seconds of computing
an input; what it may raise is UsageError or DataError, of one line. Exit code 0 when nothing else
came out, else 1 with the inputs that did it in --keep.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.results import add_json_option, finish
from errors import ProjectError

MEMORY = 1 << 30  # bytes beyond what the process has at its start
SECONDS, WAIT = 10, 120  # for one input: of computing, and by the clock
KINDS = ("bit", "byte", "cut", "end", "repeat", "number", "word", "digits")
NUMBERS = [0, 1, -1, 127, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 10**9]
WORDS = {
    "corpus": [
        "-1",
        "0",
        "1e999",
        "NaN",
        "null",
        "[]",
        "{}",
        "9" * 5000,
        '"../x"',
        "|",
        "\n",
        "\x1b[2J",
        "\u2028",
        "[" * 3000,
    ],
    "npy": [
        "'|O'",
        "'<f8'",
        "'<U999999999'",
        "(999999999, 543, 3)",
        "(-1,)",
        "True",
        "fortran_order",
        "(" * 500,
        "9" * 5000,
    ],
    "npz": ["PK\x03\x04", "PK\x01\x02", "PK\x05\x06", "'|O'", "../", "(999999999,)"],
    "pose": ["POSE_LANDMARKS", "\x00", "\xff\xff", "XYZC"],
    "parquet": ["PAR1", "frame", "type", "\x00"],
    "csv": [
        "|",
        "||",
        "\n",
        "\r",
        "\x00",
        "\ufeff",
        "..",
        "../../etc/passwd",
        "/",
        ",",
        "id|",
        "__ON__",
        "9" * 5000,
        "\u2028",
    ],
    "yaml": [
        *(
            "&a [*a]",
            "*a",
            "!!python/object/apply:os.system [id]",
            "2001-99-99",
            "9" * 5000,
            "0x" + "f" * 5000,
            "{",
        ),
        *(
            ".inf",
            ".nan",
            "1:1:1:1",
            "!!binary x",
            "<<: *b",
            "? [1]",
            "\t",
            "training:",
            "epochs:",
            "-" + "9" * 30,
            "[" * 2000,
        ),
    ],
    "checkpoint": [
        "PK\x03\x04",
        "cos\nsystem\n",
        "cbuiltins\nbytearray\n",
        "\x80\x02",
        "R.",
        "ctorch\nFloatStorage\n",
    ],
    "language_model": [
        "\\data\\",
        "ngram 1=",
        "999999999",
        "-99",
        "nan",
        "inf",
        "\\end\\",
        "\t",
        "\n",
    ],
}


@dataclass
class Target:
    """seeds: good files by name; `read` gets the path of one whose content was mutated
    (`odd`: made by it from a draw)."""

    seeds: dict[str, bytes]
    read: Callable[[Path], object]
    words: list[str]
    odd: Callable[[st.DataObject, Path], None] | None = None


@dataclass
class Outcome:
    """What came of fuzzing one reader. found: what should not have come out, each kind once, with
    its input's path."""

    tried: int = 0
    refused: int = 0
    read: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0  # MiB resident at the most, above the start
    messages: Counter = field(default_factory=Counter)
    found: dict[str, str] = field(default_factory=dict)


class HangError(BaseException):
    """An input took too long; no reader's `except Exception` catches it."""


# ------------------------------------------------------------------------------------------------- good files


def small_corpus(folder: Path) -> None:
    """A corpus of three train sentences and one of dev, a few frames each."""
    from data.corpus_writer import CorpusWriter

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


def make_targets(folder: Path) -> dict[str, Target]:
    """The readers by name, with good files made in `folder`."""
    return {name: make(folder) for name, make in MAKERS.items()}


def corpus_target(folder: Path) -> Target:
    from data.corpus import Corpus
    from data.corpus_check import check_corpus
    from training.corpus_checks import find_bad_sentences, warn_of_changed_files

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
    from data.safe_npy import map_array
    from data.sources.landmark_files import read_npy

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
    from data.sources.landmark_files import read_npy

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
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    from data.landmarks import PART_SLICES
    from data.sources.landmark_files import read_pose

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


def parquet_target(folder: Path) -> Target:
    import pyarrow
    from pyarrow import parquet

    from data.landmarks import PART_SLICES
    from data.sources.landmark_files import KAGGLE_COLUMNS, read_parquet

    rows = [
        (2, part, i, 0.5, 0.4, 0.0)
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
    from data.corpus import read_sentences
    from data.sources.transcripts import clean_train, read_frames, read_splits

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
        "phoenix.csv": "id|folder|signer|annotation\n01A_1|01A_1/1/*.png|S01|__ON__ REGEN loc-NORD  WIE AUSSEHEN\na|b|c|X Y\n",
        "phoenix2014t.csv": "name|video|start|end|speaker|orth|translation\na|a/1/*.png|-1|-1|S1|REGEN|es regnet\n",
        "isharah.csv": "id|gloss\n02_0001|A B\n03_0001|C\n",
        "kaggle.csv": "path,participant_id,sequence_id,sign\na/1.parquet,26734,1000035562,blow\n",
        "stored.csv": "id|signer|frames|annotation\ns1|anna|12|A B\ns2|anna|9|C\n",
        "frames.csv": "id|frames\ns1|12\ns2|9\n",
    }
    return Target({name: text.encode() for name, text in texts.items()}, read, WORDS["csv"])


def yaml_target(folder: Path) -> Target:
    from distillation.config import StudentConfig
    from training.config import Config, read_overrides

    def read(path: Path) -> None:
        kind = StudentConfig if "student" in path.name else Config
        kind().updated(read_overrides(path, kind))

    configs = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
    seeds = {
        path.name: path.read_bytes() for path in configs if path.stem != "sweep"
    }  # not settings, but lists of them
    seeds["all.yaml"] = yaml.safe_dump(Config().to_dict(), sort_keys=False).encode()
    return Target(seeds, read, WORDS["yaml"])


def language_model_target(folder: Path) -> Target:
    from data.vocabulary import Vocabulary
    from decoding.language_model import read_arpa

    text = "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t</s>\n-99\t<s>\t-0.3\n-0.5\tA\t-0.2\n-0.6\tB\t-0.1\n\n"
    text += "\\2-grams:\n-0.2\t<s>\tA\n-0.3\tA\tB\n\n\\end\\\n"
    return Target(
        {"a.arpa": text.encode()},
        lambda path: read_arpa(path, Vocabulary(["A", "B"])),
        WORDS["language_model"],
    )


def checkpoint_target(folder: Path) -> Target:
    import torch

    from data.corpus import Corpus
    from data.vocabulary import Vocabulary
    from decoding.decoders import read_decoder_entry
    from models.build import load_model
    from models.checkpoint import load_checkpoint, save_checkpoint
    from training.resume import plan_start, start_from
    from training.setup import prepare_run

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
        start = start_from(checkpoint, path, {}).for_corpus(fingerprint)
        vocabulary = Vocabulary(checkpoint["vocabulary"])
        load_model(checkpoint, path, start.config.model, vocabulary, start.config.training.seed)
        trainer.restore(checkpoint["training"])

    def odd(data: st.DataObject, path: Path) -> None:
        torch.save(with_odd_values(data, {**content, "format_version": 1}), path)

    return Target({"a.pth": good.read_bytes()}, read, WORDS["checkpoint"], odd)


def with_odd_values(data: st.DataObject, content: dict):
    """The content with one to three of its values, at any depth, replaced by others."""
    import torch

    nested: list = [1]
    for _ in range(40):
        nested = [nested, nested]
    values = [
        None,
        -1,
        10**12,
        10**30,
        1e308,
        float("nan"),
        "",
        "x" * 1000,
        "\x1b[2J",
        [],
        {},
        [1, 2],
        {"a": 1},
        {5: 5},
        True,
        0,
    ]
    values += [
        (1,),
        nested,
        torch.zeros(3),
        torch.full((2, 2), float("nan")),
        torch.zeros(1).expand(10**12),
        torch.zeros(2).long(),
    ]

    def replaced(value, depth: int):
        inner = (
            list(value)
            if isinstance(value, dict)
            else range(len(value))
            if isinstance(value, list)
            else []
        )
        if not inner or data.draw(st.integers(0, 5)) < depth - 1:
            return data.draw(st.sampled_from(values))
        key = data.draw(st.sampled_from(list(inner)))
        if data.draw(st.integers(0, 9)) == 0:  # leave it out
            return (
                {k: v for k, v in value.items() if k != key}
                if isinstance(value, dict)
                else value[:key] + value[key + 1 :]
            )
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = replaced(value[key], depth + 1)
        return copy

    for _ in range(data.draw(st.integers(1, 3))):
        content = replaced(content, 0) if isinstance(content, dict) else content
    return content


MAKERS = {
    "corpus": corpus_target,
    "npy": npy_target,
    "npz": npz_target,
    "pose": pose_target,
    "parquet": parquet_target,
    "csv": csv_target,
    "yaml": yaml_target,
    "language_model": language_model_target,
    "checkpoint": checkpoint_target,
}

# ------------------------------------------------------------------------------------------------- mutations


def mutated(data: st.DataObject, content: bytes, words: list[str]) -> bytes:
    """The content after one to six mutations."""
    place = st.integers(0, max(len(content) - 1, 0)) | st.integers(0, min(len(content), 256) or 1)
    for _ in range(data.draw(st.integers(1, 6))):
        at, kind = (
            data.draw(place),
            data.draw(
                st.sampled_from(("bit", "byte", "cut", "end", "repeat", "number", "word", "digits"))
            ),
        )
        head, tail = content[:at], content[at:]
        if kind == "bit" and tail:
            content = head + bytes([tail[0] ^ 1 << data.draw(st.integers(0, 7))]) + tail[1:]
        elif kind == "byte":
            content = head + bytes([data.draw(st.integers(0, 255))]) + tail[1:]
        elif kind == "cut":
            content = head + tail[data.draw(st.integers(1, 64)) :]
        elif kind == "end":
            content = (
                head if data.draw(st.booleans()) else content[: -data.draw(st.integers(1, 64))]
            )
        elif kind == "repeat":
            length, times = (
                data.draw(st.integers(1, 64)),
                data.draw(st.sampled_from((2, 3, 100, 2000))),
            )
            content = head + tail[:length] * times + tail[length:]
        elif kind == "number":
            width = data.draw(st.sampled_from((2, 4, 8)))
            number = data.draw(st.sampled_from(NUMBERS)) % 2 ** (8 * width)
            content = (
                head
                + number.to_bytes(width, data.draw(st.sampled_from(("little", "big"))))
                + tail[width:]
            )
        elif kind == "digits":
            digits = [
                i for i in range(at, min(at + 200, len(content))) if content[i : i + 1].isdigit()
            ]
            if digits:
                number = str(data.draw(st.sampled_from(NUMBERS))).encode()
                content = (
                    content[: digits[0]]
                    + number
                    + content[digits[0] + data.draw(st.integers(0, 3)) :]
                )
        else:
            word = data.draw(st.sampled_from(words))
            word = word.encode(
                "utf-8" if not word.isascii() and "\xff" not in word else "latin-1", "replace"
            )
            content = head + word + tail[data.draw(st.sampled_from((0, len(word)))) :]
    return content


# ------------------------------------------------------------------------------------------------- running


def fuzz(name: str, count: int, start: int = 0, keep: Path | None = None) -> Outcome:
    """Try `count` mutated inputs on one reader in a process of its own. keep: folder for inputs
    that do harm."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                outcome = _fuzz_here(MAKERS[name](folder), folder, count, start, keep)
                (folder / "outcome.json").write_text(
                    json.dumps({**vars(outcome), "messages": dict(outcome.messages)})
                )
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            said = json.loads((folder / "outcome.json").read_text())
            return Outcome(**{**said, "messages": Counter(said["messages"])})
        lost = _kept(keep, name, max(folder.glob("input-*"), key=os.path.getmtime, default=None))
        return Outcome(found={f"the process ended with {status}": lost})


def _kept(keep: Path | None, kind: str, path: Path | None) -> str:
    if keep is None or path is None:
        return "not kept"
    keep.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "_" for c in kind)[:80]
    return str(shutil.copy(path, keep / f"{name}-{path.name}"))


def _hang(*_) -> None:
    raise HangError


def _fuzz_here(target: Target, folder: Path, count: int, start: int, keep: Path | None) -> Outcome:
    outcome, begin = Outcome(), time.perf_counter()
    # What was not mutated can be read, or the mutations show nothing
    for name, content in target.seeds.items():
        path = folder / f"input-{name}"
        path.write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            target.read(path)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for signum in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(signum, _hang)

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(target.seeds)))
        path = folder / f"input-{name}"
        if target.odd is not None and data.draw(st.booleans()):
            target.odd(data, path)
        else:
            path.write_bytes(mutated(data, target.seeds[name], target.words))
        _try(target, path, outcome, keep)

    attempt()
    outcome.seconds = time.perf_counter() - begin
    outcome.memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) // 1024
    return outcome


def _try(target: Target, path: Path, outcome: Outcome, keep: Path | None) -> None:
    started, harm = time.process_time(), None
    signal.alarm(WAIT)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            target.read(path)
        outcome.read += 1
    except ProjectError as error:
        outcome.refused += 1
        message = str(error)
        outcome.messages[type(error).__name__] += 1
        if "\n" in message or len(message) > 2000:
            harm = f"a message of {message.count(chr(10)) + 1} lines, {len(message)} characters: {message[:80]!r}"
    except HangError:
        harm = f"more than {SECONDS} seconds of computing, or {WAIT} by the clock"
    except Exception as error:
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "site-packages" not in f.filename
        ]
        where = [
            f"{Path(f.filename).name}:{f.lineno} {f.name}"
            for f in frames
            if "/lib/python" not in f.filename
        ]
        harm = f"{type(error).__name__} in {where[-1]}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    outcome.tried += 1
    outcome.slowest = max(outcome.slowest, time.process_time() - started)
    if harm is not None:
        kind = harm.split(":")[0] + harm.partition(":")[2].partition(":")[0]
        if kind not in {
            known.split(":")[0] + known.partition(":")[2].partition(":")[0]
            for known in outcome.found
        }:
            outcome.found[harm] = _kept(keep, kind, path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="fuzz.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted(MAKERS),
        default=list(MAKERS),
        help="readers (default: all)",
    )
    parser.add_argument(
        "--count", type=int, default=10_000, help="inputs for each (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same inputs (default: 0)")
    parser.add_argument("--keep", type=Path, help="folder for inputs that did harm")
    add_json_option(parser)
    options = parser.parse_args(argv)
    print("reader            inputs  refused   read  slowest   seconds  memory")
    harmed, figures = 0, {}
    for name in options.only:
        one = fuzz(name, options.count, options.seed, options.keep)
        print(
            f"{name:<16}{one.tried:>8}{one.refused:>9}{one.read:>7}{one.slowest:>7.2f} s{one.seconds:>8.0f} s"
            f"{one.memory:>5} MiB",
            flush=True,
        )
        for harm, kept in one.found.items():
            print(f"  {harm} ({kept})")
        harmed += len(one.found)
        figures |= {
            f"{name}_inputs": one.tried,
            f"{name}_kinds_of_harm": len(one.found),
            f"{name}_MiB": one.memory,
        }
    finish(options, {**figures, "kinds_of_harm": harmed}, "kinds_of_harm")
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
