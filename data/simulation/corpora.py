"""The simulated signer: corpora of gloss sentences acted before a simulated camera, for use without
anyone's recordings.

`synthesize` makes sentences from a small grammar (`simulated_grammar`), `synthesize_transcripts`
acts given transcripts at their real lengths. Both go the same way: a sign for every gloss
(`simulated_lexicon`), signers with bodies and habits (`simulated_body`), motion
(`simulated_motion`), and what MediaPipe Holistic would have made of it (`simulated_detection`). The
same arguments give the same bytes, whatever the order of the sentences or the number of threads
(another numpy, or a processor with other vector instructions, may round a last bit differently);
memory stays at one sentence. A figure reached on such a corpus says that a program works, not how
well it reads real signers; corpus.json marks it as simulated.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.simulation.body import STUDIO, WEBCAM, Framing, Signer, draw_signer
from data.simulation.detection import observe
from data.simulation.grammar import GLOSSES, draw_sentence
from data.simulation.lexicon import Sign, build_lexicon
from data.simulation.motion import Performer
from data.sources.transcripts import TranscribedSentence
from errors import DataError, UsageError

VERSION = 1  # of the generator: raised whenever the same arguments give other bytes
FPS = 25.0
SIGNERS = 6  # of the built-in corpus's train split
BUILTIN_CORPUS = Path(__file__).parent.parent / "corpora" / "builtin"


class SimulatedSigners:
    """All signers of a corpus, sharing one lexicon and one camera."""

    def __init__(self, glosses: Iterable[str], framing: Framing, seed: int):
        self.lexicon: dict[str, Sign] = build_lexicon(glosses, seed)
        self.framing, self.seed = framing, seed
        self._performers: dict[str, Performer] = {}

    def signer(self, name: str) -> Signer:
        return self._performer(name).signer

    def _performer(self, name: str) -> Performer:
        if name not in self._performers:
            self._performers[name] = Performer(
                draw_signer(name, self.seed, self.framing), self.lexicon, self.seed
            )
        return self._performers[name]

    def record(self, sentence: TranscribedSentence) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks float32 (T, 543, 3) and detected bool (T, 4) of one sentence; T is
        `sentence.frames` where given."""
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
) -> None:
    """Write a corpus of sentences from the built-in grammar, signed by six signers in front of a
    webcam.

    sentences, dev_sentences, test_sentences: in each split; a split of 0 is not written.
    unseen_dev_signers: with 0, dev is signed by the train split's signers; otherwise by this many
    others instead. No gloss sequence of dev or test is in train, and within dev and test none
    repeats as long as the grammar yields new ones. Raises UsageError for a negative number, no
    train sentences or an `output` that is in use, DataError when it cannot be written.
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
    signers = {
        split: [f"signer{number:02d}" for number in range(1, SIGNERS + 1)] for split in sizes
    }
    if unseen_dev_signers:
        signers["dev"] = [
            f"signer{SIGNERS + number:02d}" for number in range(1, unseen_dev_signers + 1)
        ]
    arguments = {
        "sentences": sentences,
        "dev_sentences": dev_sentences,
        "test_sentences": test_sentences,
        "unseen_dev_signers": unseen_dev_signers,
    }
    drawn = _draw_splits(sizes, signers, seed)
    transcripts = {split: drawn[split] for split in ("train", "dev", "test") if drawn[split]}
    crew = SimulatedSigners(GLOSSES, WEBCAM, seed)
    _write(
        output,
        transcripts,
        crew,
        "built-in" if output == BUILTIN_CORPUS else output.name,
        arguments,
        progress,
    )


def _draw_splits(
    sizes: dict[str, int], signers: dict[str, list[str]], seed: int
) -> dict[str, list[TranscribedSentence]]:
    """Sentences of each split, held-out splits first so that train can keep clear of them."""
    held_out: set[tuple[str, ...]] = set()
    drawn: dict[str, list[TranscribedSentence]] = {}
    for split, size in sizes.items():
        drawn[split] = []
        for index in range(size):
            rng = generator(seed, "sentence", split, index)
            for _ in range(200):  # then the grammar has nothing new left
                glosses = draw_sentence(rng)
                if glosses not in held_out:
                    break
            if split != "train":
                held_out.add(glosses)
            signer = signers[split][index % len(signers[split])]
            drawn[split].append(TranscribedSentence(f"{split}-{index:05d}", signer, glosses))
    return drawn


def synthesize_transcripts(
    output: Path,
    transcripts: dict[str, list[TranscribedSentence]],
    *,
    seed: int = 0,
    progress: bool = False,
    workers: int = 1,
) -> None:
    """Write a corpus in which simulated signers act the given transcripts, seen as PHOENIX frames
    show signers.

    transcripts: split name → sentences. A sentence with `frames` has exactly that many, however
    fast that is; otherwise the signer's own pace decides. Signers of one name are one person in all
    splits. workers: processes that share the acting. Raises DataError for a sentence without
    glosses or frames and for an id that is in two splits, UsageError when there is no sentence at
    all or `output` is in use.
    """
    seen: dict[str, str] = {}
    for split, rows in transcripts.items():
        for sentence in rows:
            if not sentence.glosses or (sentence.frames is not None and sentence.frames < 1):
                raise DataError(
                    f"{split} sentence {sentence.id!r} has no glosses or no frames: remove it"
                )
            if sentence.id in seen:
                raise DataError(
                    f"sentence id {sentence.id!r} is in {seen[sentence.id]} and in {split}; rename one"
                )
            seen[sentence.id] = split
    if not seen:
        raise UsageError("nothing to synthesize: the transcripts hold no sentences")
    glosses = {
        gloss for rows in transcripts.values() for sentence in rows for gloss in sentence.glosses
    }
    crew = SimulatedSigners(glosses, STUDIO, seed)
    arguments = {"transcripts": {split: len(rows) for split, rows in transcripts.items()}}
    _write(output, transcripts, crew, output.name, arguments, progress, workers)


def _write(
    output: Path,
    transcripts: dict[str, list[TranscribedSentence]],
    crew: SimulatedSigners,
    name: str,
    arguments: dict,
    progress: bool,
    workers: int = 1,
) -> None:
    made_by = {"generator": "simulated signer", "version": VERSION, "seed": crew.seed, **arguments}
    total = sum(len(rows) for rows in transcripts.values())
    with (
        _acting(crew, workers) as act,
        CorpusWriter(
            output,
            name=name,
            fps=FPS,
            aspect_ratio=crew.framing.aspect_ratio,
            made_by=made_by,
            simulated=True,
        ) as writer,
        tqdm(
            total=total, unit=" sentences", desc="synthesize", disable=None if progress else True
        ) as bar,
    ):
        for split, rows in transcripts.items():
            target = writer.split(split)
            for sentence, recorded in zip(rows, act(rows), strict=True):
                target.add(sentence.id, sentence.signer, sentence.glosses, *recorded)
                bar.update()


@contextlib.contextmanager
def _acting(
    crew: SimulatedSigners, workers: int
) -> Iterator[Callable[[list[TranscribedSentence]], Iterable]]:
    """`crew.record` over sentences, in order, by so many processes."""
    if workers == 1:
        yield lambda rows: map(crew.record, rows)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _join_crew, [crew]) as pool:
        yield lambda rows: pool.imap(_record, rows, chunksize=8)


_crew: SimulatedSigners | None = None  # of a worker's process


def _join_crew(crew: SimulatedSigners) -> None:
    global _crew
    _crew = crew


def _record(sentence: TranscribedSentence) -> tuple[np.ndarray, np.ndarray]:
    return _crew.record(sentence)


def builtin_corpus() -> Path:
    """Folder of the built-in corpus: `synthesize` with its defaults, made on first use and kept."""
    if not (BUILTIN_CORPUS / "corpus.json").is_file():
        start = time.perf_counter()
        print(
            f"making the built-in corpus of simulated signers in {BUILTIN_CORPUS} ...",
            end=" ",
            flush=True,
        )
        synthesize(BUILTIN_CORPUS)
        print(f"done in {time.perf_counter() - start:.0f} s", flush=True)
    return BUILTIN_CORPUS
