"""Compare transcription in windows with transcription of complete recordings: WER, latency, speed.

    python benchmarks/online.py --checkpoint checkpoints/mine/best_model.pth \
        --data_dir data/corpora/mine
    python benchmarks/online.py --checkpoint checkpoints/mine/best_model.pth \
        --data_dir data/corpora/mine --window 4 6 8 --overlap 3 5 --lookahead 0.5 1

Sentences of one signer are joined to recordings of about --seconds each. They are transcribed in
three ways: each sentence alone (as evaluate.py does), the complete recording, and in windows. With
several values of an option, all combinations are tried.

WER compares with the references; for windows, also with the hypotheses of the complete recording.
Latency is the time from the end of a gloss to its emission, in seconds of the recording. Frames per
second include features, model and decoder.
"""

import itertools
import sys
from collections.abc import Generator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.results import add_json_option, describe_machine, finish
from command_line import Parser
from data.corpus import Corpus, Split
from data.keyed_random import generator
from decoding import OPEN_DECODERS
from decoding.scoring import align as align_sentences
from decoding.scoring import bootstrap_interval, score
from errors import run_script
from inference.recognizer import Recognizer, open_recognizer
from inference.recording_transcription import TranscriptionSummary, transcribe_recording
from inference.recordings import Frame, Recording
from inference.windows import LOOKAHEAD, OVERLAP, WINDOW, Windows
from training.setup import open_corpus

Glosses = list[str]


def join_sentences(split: Split, fps: float, seconds: float, seed: int) -> list[list[int]]:
    """The sentence indices of each long recording.

    A recording has one signer, and its sentences are in random order. A signer's last recording may
    be shorter than `seconds`.
    """
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
    """One recording with these sentences, one after the other."""

    def frames() -> Generator[Frame, None, None]:
        pairs = (pair for index in indices for pair in zip(*split.read(index), strict=True))
        for number, (landmarks, detected) in enumerate(pairs):
            yield Frame(number / corpus.fps, np.array(landmarks), np.array(detected))

    count = int(split.lengths[indices].sum())
    return Recording(frames(), corpus.fps, True, count, corpus.aspect_ratio)


def transcribe_all(
    recognizer: Recognizer,
    corpus: Corpus,
    split: Split,
    recordings: list[list[int]],
    windows: Windows,
) -> tuple[list[Glosses], list[TranscriptionSummary]]:
    """The glosses and the summary of each recording."""
    hypotheses, summaries = [], []
    for indices in recordings:
        glosses: Glosses = []
        summaries.append(
            transcribe_recording(
                stream(corpus, split, indices),
                recognizer,
                windows,
                on_glosses=lambda emitted, glosses=glosses: glosses.extend(
                    item.gloss for item in emitted
                ),
            )
        )
        hypotheses.append(glosses)
    return hypotheses, summaries


def frames_per_second(summaries: list[TranscriptionSummary]) -> float:
    return sum(summary.frames for summary in summaries) / sum(
        summary.work_seconds for summary in summaries
    )


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="online.py", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="best_model.pth of a run")
    parser.add_argument("--data_dir", required=True, help="corpus folder")
    parser.add_argument(
        "--split", choices=("train", "dev", "test"), default="dev", help="split to transcribe"
    )
    parser.add_argument("--decoder", choices=OPEN_DECODERS, help="default: the checkpoint's")
    parser.add_argument(
        "--seconds",
        type=float,
        default=40.0,
        help="about the length of a recording",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="as with a camera: do not wait until the first window is full",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the order of the sentences"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    for option, default in (("window", WINDOW), ("overlap", OVERLAP), ("lookahead", LOOKAHEAD)):
        parser.add_argument(
            f"--{option}", type=float, nargs="+", default=[default], help="as in transcribe.py"
        )
    add_json_option(parser)
    options = parser.parse_args(argv)

    recognizer = open_recognizer(options.checkpoint, options.decoder, options.device)
    corpus = open_corpus(options.data_dir)
    split = corpus.split(options.split)
    recordings = join_sentences(split, corpus.fps, options.seconds, options.seed)
    references = [
        [gloss for index in indices for gloss in split.sentences[index].glosses]
        for indices in recordings
    ]
    print(describe_machine())
    print(
        f"{options.checkpoint}, {options.split} of {corpus.describe()}, "
        f"decoder: {recognizer.decoder_description}"
    )
    print(
        f"{len(recordings)} recordings of about {options.seconds:g} s, "
        f"{sum(map(len, references))} glosses"
    )

    figures: dict[str, float] = {}
    no_windows = Windows(WINDOW, OVERLAP, LOOKAHEAD, whole_up_to=1e6)
    indices = [index for recording in recordings for index in recording]
    alone, summaries = transcribe_all(
        recognizer, corpus, split, [[index] for index in indices], no_windows
    )
    alone_score = score([split.sentences[index].glosses for index in indices], alone)
    figures["alone_wer"] = alone_score.wer
    figures["alone_frames_per_second"] = frames_per_second(summaries)
    print(f"each sentence alone: {alone_score}; {frames_per_second(summaries):,.0f} frames/s")
    offline, summaries = transcribe_all(recognizer, corpus, split, recordings, no_windows)
    offline_score = score(references, offline)
    figures["whole_wer"] = offline_score.wer
    figures["whole_frames_per_second"] = frames_per_second(summaries)
    low, high = bootstrap_interval(align_sentences(references, offline))
    print(
        f"complete recordings: {offline_score}, 95 % interval {low:.2f} to {high:.2f}; "
        f"{frames_per_second(summaries):,.0f} frames/s"
    )
    print(
        "window  overlap  lookahead    WER %  against complete %  latency mean  largest  frames/s"
        "  frames held"
    )
    for length, overlap, lookahead in itertools.product(
        options.window, options.overlap, options.lookahead
    ):
        if not lookahead < overlap < length:
            continue
        online, summaries = transcribe_all(
            recognizer,
            corpus,
            split,
            recordings,
            Windows(length, overlap, lookahead, live=options.live),
        )
        wer = score(references, online).wer
        difference = score([glosses or ["(none)"] for glosses in offline], online).wer
        count = sum(summary.glosses for summary in summaries)
        mean = sum(summary.total_latency for summary in summaries) / max(count, 1)
        largest = max(summary.largest_latency for summary in summaries)
        held = max(summary.most_held for summary in summaries)
        print(
            f"{length:6g}  {overlap:7g}  {lookahead:9g}  {wer:7.2f}  {difference:18.2f}"
            f"  {mean:10.2f} s  {largest:5.2f} s  {frames_per_second(summaries):8,.0f}  {held:11}",
            flush=True,
        )
        name = f"window_{length:g}_{overlap:g}_{lookahead:g}"
        figures |= {
            f"{name}_wer": wer,
            f"{name}_latency_seconds": mean,
            f"{name}_frames_per_second": frames_per_second(summaries),
        }
    finish(
        options,
        figures,
        next((name for name in figures if name.startswith("window_")), "whole_wer"),
    )
    return 0


if __name__ == "__main__":
    run_script(main)
