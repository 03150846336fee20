"""Corpora of simulated signers, for use without recordings of real ones.

`synthesize` signs sentences of a small grammar (grammar.py). `synthesize_transcripts` signs given
transcripts at their real lengths. Both take the same steps: a sign for each gloss (lexicon.py),
signers with bodies and habits (body.py), their motion (motion.py, embodiment.py), and the landmarks
that MediaPipe Holistic would detect (detection.py).

The same arguments give the same bytes. The order of the sentences and the number of threads do not
matter. Only another version of numpy or a processor with other vector instructions may round a last
bit differently. Memory holds one sentence at a time, or a few for each process.

A result on such a corpus shows that a program works. It does not show how well the program
recognizes real signers. corpus.json marks the corpus as simulated.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.output_place import BeingWrittenError
from data.simulation.body import STUDIO, WEBCAM, Framing, Signer, draw_signer
from data.simulation.detection import observe
from data.simulation.grammar import GLOSSES, draw_sentence
from data.simulation.lexicon import Sign, build_lexicon
from data.simulation.motion import Performer
from data.sources.annotations.transcripts import TranscribedSentence
from errors import DataError, UsageError
from processor import cores_allowed
from progress_bar import ProgressBar

GENERATOR_VERSION = 1  # it increases when the same arguments give other bytes
FPS = 25.0
SIGNERS = 6  # of the built-in corpus's train split
_SENTENCES_PER_WORKER = 150  # fewer are done sooner than a process starts
_AHEAD = 4  # sentences for each process that may be in memory before they are written
_POLL_SECONDS = 0.5  # between two looks whether another process has made the built-in corpus
BUILTIN_CORPUS = Path(__file__).parent.parent / "corpora" / "builtin"


class SimulatedSigners:
    """All signers of a corpus. They share one lexicon and one camera."""

    def __init__(self, glosses: Iterable[str], framing: Framing, seed: int):
        self.lexicon: dict[str, Sign] = build_lexicon(glosses, seed)
        self.framing, self.seed = framing, seed
        self._performers: dict[str, Performer] = {}

    def signer(self, name: str) -> Signer:
        """The properties of the signer with this name."""
        return self._performer(name).signer

    def _performer(self, name: str) -> Performer:
        if name not in self._performers:
            self._performers[name] = Performer(
                draw_signer(name, self.seed, self.framing), self.lexicon, self.seed
            )
        return self._performers[name]

    def record(self, sentence: TranscribedSentence) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (T, 543, 3) and detected bool (T, 4) of one sentence.

        T is `sentence.frames`, or the signer's own pace decides where that is None.
        """
        performer = self._performer(sentence.signer)
        body = performer.perform(sentence.id, sentence.glosses, sentence.frames)
        return observe(body, performer.signer, self.framing, self.seed, sentence.id)


def synthesize(
    output: Path,
    *,
    seed: int = 0,
    sentences: int = 600,
    dev_sentences: int = 100,
    test_sentences: int = 0,
    unseen_dev_signers: int = 0,
    progress: bool = False,
    workers: int | None = None,
) -> None:
    """Write a corpus of sentences from the built-in grammar, signed by six signers in front of a
    webcam.

    No gloss sequence of dev or test is in train. Within dev and test, none repeats as long as the
    grammar has new ones.

    Args:
        output: the corpus folder to write.
        seed: random seed for signers, sentences and motion.
        sentences, dev_sentences, test_sentences: number in each split; a split with 0 sentences is
            not written.
        unseen_dev_signers: number of signers of dev who are not in train; with 0, the signers of
            train sign dev.
        progress: show a progress bar.
        workers: number of processes; None: one per core, for a few hundred sentences or more.

    Raises UsageError for a negative number, for no train sentences and when `output` is not empty,
    DataError when the corpus cannot be written.
    """
    if sentences < 1:
        raise UsageError(f"--sentences {sentences}: the train split needs at least 1")
    for option, value in (
        ("dev_sentences", dev_sentences),
        ("test_sentences", test_sentences),
        ("unseen_dev_signers", unseen_dev_signers),
    ):
        if value < 0:
            raise UsageError(f"--{option} {value}: expected 0 or more")
    sizes = {"dev": dev_sentences, "test": test_sentences, "train": sentences}
    names = {split: [f"signer{number:02d}" for number in range(1, SIGNERS + 1)] for split in sizes}
    if unseen_dev_signers:
        names["dev"] = [
            f"signer{SIGNERS + number:02d}" for number in range(1, unseen_dev_signers + 1)
        ]
    arguments = {
        "sentences": sentences,
        "dev_sentences": dev_sentences,
        "test_sentences": test_sentences,
        "unseen_dev_signers": unseen_dev_signers,
    }
    drawn = _draw_splits(sizes, names, seed)
    transcripts = {split: drawn[split] for split in ("train", "dev", "test") if drawn[split]}
    _write(
        output,
        transcripts,
        SimulatedSigners(GLOSSES, WEBCAM, seed),
        "built-in" if output == BUILTIN_CORPUS else output.name,
        arguments,
        progress,
        workers,
    )


def _draw_splits(
    sizes: dict[str, int], names: dict[str, list[str]], seed: int
) -> dict[str, list[TranscribedSentence]]:
    """Draw the sentences of each split. Held-out splits come first, so that train can avoid their
    sentences."""
    held_out: set[tuple[str, ...]] = set()
    drawn: dict[str, list[TranscribedSentence]] = {}
    for split, size in sizes.items():
        drawn[split] = []
        for index in range(size):
            rng = generator(seed, "sentence", split, index)
            for _ in range(200):  # after this many draws, the grammar has no new sentences
                glosses = draw_sentence(rng)
                if glosses not in held_out:
                    break
            if split != "train":
                held_out.add(glosses)
            signer = names[split][index % len(names[split])]
            drawn[split].append(TranscribedSentence(f"{split}-{index:05d}", signer, glosses))
    return drawn


def synthesize_transcripts(
    output: Path,
    transcripts: dict[str, list[TranscribedSentence]],
    *,
    seed: int = 0,
    progress: bool = False,
    workers: int | None = None,
) -> None:
    """Write a corpus in which simulated signers sign the given transcripts, framed as in
    RWTH-PHOENIX-Weather.

    Args:
        output: the corpus folder to write.
        transcripts: sentences by split. A sentence with `frames` gets exactly that many, whatever
            the speed; otherwise the signer's own pace decides. A signer's name means the same
            person in all splits.
        seed: random seed for lexicon, signers and motion.
        progress: show a progress bar.
        workers: number of processes; None: one per core, for a few hundred sentences or more.

    Raises DataError for a sentence without glosses or frames and for an id in two splits,
    UsageError when there are no sentences and when `output` is not empty.
    """
    split_of: dict[str, str] = {}
    for split, rows in transcripts.items():
        for sentence in rows:
            if not sentence.glosses or (sentence.frames is not None and sentence.frames < 1):
                raise DataError(
                    f"{split} sentence {sentence.id!r} has no glosses or no frames: "
                    "expected at least one of each; remove it from the transcripts"
                )
            if sentence.id in split_of:
                raise DataError(
                    f"sentence id {sentence.id!r} is in {split_of[sentence.id]} and in {split}; "
                    "rename one"
                )
            split_of[sentence.id] = split
    if not split_of:
        raise UsageError("nothing to synthesize: the transcripts have no sentences")
    glosses = {
        gloss for rows in transcripts.values() for sentence in rows for gloss in sentence.glosses
    }
    signers = SimulatedSigners(glosses, STUDIO, seed)
    arguments = {"transcripts": {split: len(rows) for split, rows in transcripts.items()}}
    _write(output, transcripts, signers, output.name, arguments, progress, workers)


def _write(
    output: Path,
    transcripts: dict[str, list[TranscribedSentence]],
    signers: SimulatedSigners,
    name: str,
    arguments: dict[str, Any],
    progress: bool,
    workers: int | None = None,
) -> None:
    made_by = {
        "generator": "simulated signer",
        "version": GENERATOR_VERSION,
        "seed": signers.seed,
        **arguments,
    }
    total = sum(len(rows) for rows in transcripts.values())
    workers = workers or max(min(cores_allowed(), total // _SENTENCES_PER_WORKER), 1)
    with (
        _recorder(signers, workers) as record,
        CorpusWriter(
            output,
            name=name,
            fps=FPS,
            aspect_ratio=signers.framing.aspect_ratio,
            made_by=made_by,
            simulated=True,
            format_version=1,  # the same seed makes the same bytes as in earlier versions
        ) as writer,
        ProgressBar("synthesize", total, "sentence", progress) as bar,
    ):
        for split, rows in transcripts.items():
            target = writer.split(split)
            for sentence, (landmarks, detected) in zip(rows, record(rows), strict=True):
                target.add(sentence.id, sentence.signer, sentence.glosses, landmarks, detected)
                bar.update()


@contextlib.contextmanager
def _recorder(
    signers: SimulatedSigners, workers: int
) -> Iterator[Callable[[list[TranscribedSentence]], Iterable[tuple[np.ndarray, np.ndarray]]]]:
    """A function that records sentences in their order, with this number of processes."""
    if workers == 1:
        yield lambda rows: map(signers.record, rows)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (signers,)
    )
    try:
        yield lambda rows: _record_ahead(pool, rows, _AHEAD * workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _record_ahead(
    pool: ProcessPoolExecutor, rows: Sequence[TranscribedSentence], ahead: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Record sentences in their order, at most `ahead` of them before they are asked for.

    Raises DataError when a process of the pool has ended.
    """
    waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    try:
        for sentence in rows:
            with _interrupts_ignored():  # processes that start now inherit it
                waiting.append(pool.submit(_record, sentence))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "a process that makes sentences was killed, perhaps because the memory was full: free "
            "some memory and run the command again"
        ) from None


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C is for the main process alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


_signers: SimulatedSigners | None = None  # those of a worker process


def _start_worker(signers: SimulatedSigners) -> None:
    global _signers
    _signers = signers
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    """A process of a pool waits for work for ever, also when the main process was killed."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _record(sentence: TranscribedSentence) -> tuple[np.ndarray, np.ndarray]:
    assert _signers is not None
    return _signers.record(sentence)


def builtin_corpus() -> Path:
    """The folder of the built-in corpus: `synthesize` with its defaults, made once and kept. While
    another process makes it, this one waits."""
    start, waiting = time.perf_counter(), False
    while not (BUILTIN_CORPUS / "corpus.json").is_file():
        if not waiting:
            print(
                f"making the built-in corpus of simulated signers in {BUILTIN_CORPUS} ...",
                end=" ",
                flush=True,
            )
        try:
            synthesize(BUILTIN_CORPUS)
        except BeingWrittenError:
            if not waiting:
                print("another process is making it ...", end=" ", flush=True)
            waiting = True
            time.sleep(_POLL_SECONDS)
            continue
        print(f"done in {time.perf_counter() - start:.0f} s", flush=True)
        return BUILTIN_CORPUS
    if waiting:
        print(f"done after {time.perf_counter() - start:.0f} s", flush=True)
    return BUILTIN_CORPUS
