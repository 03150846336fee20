"""What reading in windows costs: WER, latency and speed online, beside reading the same long
recordings as a whole.

    python benchmarks/online.py --checkpoint checkpoints/mine/best_model.pth --data_dir data/corpora/mine
    python benchmarks/online.py --checkpoint checkpoints/mine/best_model.pth --window 4 6 8 --overlap 3 5 --lookahead 0.5 1

Sentences of one signer are strung together, cut to cut, into recordings of about --seconds each,
read in three ways: each sentence by itself (what evaluate.py does), the long recording as a whole,
and in windows. Of several values of an option all combinations are tried. WER is against the
references, and for windows also against the reading as a whole. Latency is from a gloss's end to
its emission, in seconds of the recording. Frames a second are those of features, model and decoder.
"""

import itertools
import sys
from collections.abc import Generator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, finish
from command_line import Parser, number_between
from data.corpus import Corpus, Split
from data.keyed_random import generator
from decoding import DECODERS
from decoding.scoring import align as align_sentences
from decoding.scoring import bootstrap_interval, score
from errors import run_script
from inference.recognizer import Recognizer, open_recognizer
from inference.recording_transcription import TranscriptionSummary, transcribe_recording
from inference.recordings import Frame, Recording
from inference.windows import LOOKAHEAD, OVERLAP, WINDOW, Windows
from training.setup import open_corpus

Glosses = list[str]


def string_together(split: Split, fps: float, seconds: float, seed: int) -> list[list[int]]:
    """Indices of the sentences of each long recording, of one signer in a random order; a signer's
    last one may be shorter."""
    recordings: list[list[int]] = []
    by_signer: dict[str, list[int]] = {}
    for index in generator(seed, "online").permutation(len(split)):
        by_signer.setdefault(split.sentences[index].signer, []).append(int(index))
    for indices in by_signer.values():
        frames = seconds * fps
        for index in indices:
            if frames >= seconds * fps:
                recordings.append([])
                frames = 0
            recordings[-1].append(index)
            frames += int(split.lengths[index])
    return recordings


def stream(corpus: Corpus, split: Split, indices: list[int]) -> Recording:
    """The sentences as one recording."""

    def frames() -> Generator[Frame, None, None]:
        pairs = (pair for index in indices for pair in zip(*split.read(index), strict=True))
        for number, (landmarks, detected) in enumerate(pairs):
            yield Frame(number / corpus.fps, np.array(landmarks), np.array(detected))

    count = int(split.lengths[indices].sum())
    return Recording(frames(), corpus.fps, True, count, corpus.aspect_ratio)


def read_all(
    recognizer: Recognizer,
    corpus: Corpus,
    split: Split,
    recordings: list[list[int]],
    windows: Windows,
) -> tuple[list[Glosses], list[TranscriptionSummary]]:
    """The glosses of each recording and how it was read."""
    readings, progresses = [], []
    for indices in recordings:
        glosses: Glosses = []
        progresses.append(
            transcribe_recording(
                stream(corpus, split, indices),
                recognizer,
                windows,
                on_glosses=lambda found, glosses=glosses: glosses.extend(
                    one.gloss for one in found
                ),
            )
        )
        readings.append(glosses)
    return readings, progresses


def speed(progresses: list[TranscriptionSummary]) -> float:
    return sum(one.frames for one in progresses) / sum(one.work_seconds for one in progresses)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="online.py", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="best_model.pth of a run")
    parser.add_argument("--data_dir", required=True, help="corpus folder")
    parser.add_argument(
        "--split", choices=("train", "dev", "test"), default="dev", help="what is read"
    )
    parser.add_argument("--decoder", choices=DECODERS, help="default: what dev chose")
    parser.add_argument(
        "--seconds", type=number_between(1, 3600), default=40.0, help="of a long recording, about"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="do not wait for the first window to fill, as with a camera",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the sentences")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    for option, default in (("window", WINDOW), ("overlap", OVERLAP), ("lookahead", LOOKAHEAD)):
        kind = number_between(0, 3600)
        parser.add_argument(
            f"--{option}", type=kind, nargs="+", default=[default], help="as in transcribe.py"
        )
    add_json_option(parser)
    options = parser.parse_args(argv)

    recognizer = open_recognizer(options.checkpoint, options.decoder, options.device)
    corpus = open_corpus(options.data_dir)
    split = corpus.split(options.split)
    recordings = string_together(split, corpus.fps, options.seconds, options.seed)
    spoken = [
        [gloss for index in indices for gloss in split.sentences[index].glosses]
        for indices in recordings
    ]
    print(describe_machine())
    print(
        f"{options.checkpoint}, {options.split} of {corpus.describe()}, decoder: {recognizer.decoder_description}"
    )
    print(
        f"{len(recordings)} recordings of about {options.seconds:g} s, {sum(map(len, spoken))} glosses"
    )

    figures: dict[str, float] = {}
    whole = Windows(WINDOW, OVERLAP, LOOKAHEAD, whole_up_to=1e6)
    alone, progress = read_all(
        recognizer, corpus, split, [[index] for indices in recordings for index in indices], whole
    )
    references = [split.sentences[index].glosses for indices in recordings for index in indices]
    figures["alone_wer"], figures["alone_frames_per_second"] = (
        score(references, alone).wer,
        speed(progress),
    )
    print(f"each sentence by itself: {score(references, alone)}; {speed(progress):,.0f} frames/s")
    offline, progress = read_all(recognizer, corpus, split, recordings, whole)
    figures["whole_wer"], figures["whole_frames_per_second"] = (
        score(spoken, offline).wer,
        speed(progress),
    )
    low, high = bootstrap_interval(align_sentences(spoken, offline))
    print(
        f"as a whole: {score(spoken, offline)}, 95 % interval {low:.2f} to {high:.2f}; {speed(progress):,.0f} frames/s"
    )
    print(
        "window  overlap  lookahead    WER %  against whole %  latency mean  largest  frames/s  frames held"
    )
    for length, overlap, lookahead in itertools.product(
        options.window, options.overlap, options.lookahead
    ):
        if not lookahead < overlap < length:
            continue
        online, progress = read_all(
            recognizer,
            corpus,
            split,
            recordings,
            Windows(length, overlap, lookahead, live=options.live),
        )
        wer, difference = (
            score(spoken, online).wer,
            score([one or ["(none)"] for one in offline], online).wer,
        )
        count = sum(one.glosses for one in progress)
        mean = sum(one.total_latency for one in progress) / max(count, 1)
        largest, held = (
            max(one.largest_latency for one in progress),
            max(one.most_held for one in progress),
        )
        print(
            f"{length:6g}  {overlap:7g}  {lookahead:9g}  {wer:7.2f}  {difference:15.2f}  {mean:11.2f} s  {largest:5.2f} s"
            f"  {speed(progress):8,.0f}  {held:11}",
            flush=True,
        )
        name = f"window_{length:g}_{overlap:g}_{lookahead:g}"
        figures |= {
            f"{name}_wer": wer,
            f"{name}_latency_seconds": mean,
            f"{name}_frames_per_second": speed(progress),
        }
    finish(
        options,
        figures,
        next((name for name in figures if name.startswith("window_")), "whole_wer"),
    )
    return 0


if __name__ == "__main__":
    run_script(main)
