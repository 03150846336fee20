"""A corpus at another frame rate."""

from pathlib import Path

from data.checks.changed_files import open_unchanged_corpus
from data.corpus_writer import CorpusWriter, check_output
from data.gloss_times import scale_times
from data.resampling import resample, same_rate
from data.sources.recording_facts import frame_times
from errors import DataError, UsageError
from progress_bar import ProgressBar


def resample_corpus(source: Path, output: Path, fps: float, progress: bool = False) -> None:
    """Write the corpus `output`: the sentences of the corpus `source` at `fps` frames per second.

    Landmarks are interpolated between the frames, as transcribe.py does it for recordings. A
    simulated corpus stays one, a composed one, too.

    Raises UsageError when `source` has that frame rate already or when `output` is not empty,
    DataError when `source` is no corpus or was changed.
    """
    check_output(output, source)
    corpus = open_unchanged_corpus(source)
    if same_rate(corpus.fps, fps):
        raise UsageError(f"--fps {fps:g}: {source} has {corpus.fps:g} frames/s already")
    made_by = {
        "command": "resample",
        "input": corpus.name,
        "input_fps": corpus.fps,
        "input_made_by": corpus.facts.get("made_by"),
    }
    with (
        CorpusWriter.like(corpus, output, made_by, fps) as writer,
        ProgressBar("resample", sum(map(len, corpus.splits.values())), "sentence", progress) as bar,
    ):
        for name, split in corpus.splits.items():
            for index, sentence in enumerate(split.sentences):
                landmarks, detected = split.read(index)
                if not len(landmarks):
                    raise DataError(
                        f"{source}: {name} sentence {sentence.id!r} has no frames: remove its line "
                        "and correct corpus.json, or make the corpus again"
                    )
                frames = resample(frame_times(len(landmarks), corpus.fps), landmarks, detected, fps)
                times = split.times_of(index)
                if times is not None:
                    times = scale_times(times, len(landmarks), len(frames[0]))
                writer.split(name).add(
                    sentence.id, sentence.signer, sentence.glosses, *frames, times
                )
                bar.update()
