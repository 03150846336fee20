"""One landmark file per sentence, with annotations → a corpus folder.

data/sources/landmark_files.py describes the formats npy, pose and parquet. The annotations are
those of data/sources/annotations/transcripts.py. The file of a sentence is found in the same way as
a video (data/sources/video_files.py), for example `<split>/<id>.npy`.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus_writer import CorpusWriter, check_output
from data.gloss_times import scale_times
from data.resampling import check_rate, is_plausible_rate, same_rate
from data.sources.annotations.segments import Segment
from data.sources.annotations.transcripts import TranscribedSentence, clean_train, read_splits
from data.sources.import_checks import ImportChecks, warn_of_unseen_sentences
from data.sources.import_defaults import FPS, IMAGES
from data.sources.import_failures import ImportFailures
from data.sources.landmark_files import (
    READERS,
    LandmarkRecording,
    check_image_coordinates,
    readable_recordings,
)
from data.sources.recording_facts import (
    at_rate,
    common_rate,
    commonest,
    counts_text,
    frame_times,
    to_aspect_ratio,
)
from data.sources.video_files import RecordingFile, find_recording_files, match_recording_files
from errors import DataError, shown_names
from progress_bar import ProgressBar

PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


def import_landmark_files(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    format: str,
    fps: float | None = None,
    resample_fps: float | None = None,
    aspect_ratio: float = IMAGES["npy"].aspect_ratio,
    normalize: str | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus `output` from the landmark files in `source`.

    Args:
        source: folder of the landmark files, one per sentence.
        annotations: annotation files of any format of data/sources/annotations/transcripts.py.
        output: the corpus folder to write.
        format: 'npy', 'pose' or 'parquet'.
        fps: frames per second of the recordings; None: those that .pose files contain, 25 for
            other files. Files of other rates than most are resampled.
        resample_fps: frames per second of the corpus; None: those of most recordings.
        aspect_ratio: width / height of the recordings. .pose files contain it; the corpus gets the
            most common one.
        normalize: 'phoenix2014' cleans the train annotations.
        skip_bad: leave train sentences with unreadable files out, instead of refusing the import.
            The failures are printed in both cases.
        progress: show a progress bar.

    Raises DataError for an unreadable file, for sentences without a file, for files without an
    annotation, and for landmarks that are not those of a signer in an image
    (data/checks/plausibility.py). Raises UsageError when `output` is not empty.
    """
    check_output(output, source, annotations)
    suffixes, read = READERS[format]
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    _refuse_pickles(source)
    files = _match_files(splits, find_recording_files(source, suffixes, ()), source, annotations)
    different_files = list(dict.fromkeys(files.values()))  # sentences may share one
    check_image_coordinates(different_files, read)
    corpus_fps = resample_fps or fps or FPS
    if format == "pose":
        facts = [
            (each.fps, each.aspect_ratio) for _, each in readable_recordings(different_files, read)
        ]
        rates = Counter(rate for rate, _ in facts if rate is not None and is_plausible_rate(rate))
        if resample_fps is None and fps is None and rates:
            corpus_fps = common_rate(rates)
            if not all(same_rate(rate, corpus_fps) for rate in rates):
                print(
                    f"warning: frame rates differ ({counts_text(rates)}): the corpus gets "
                    f"{corpus_fps:g}, the others are resampled to it; --resample_fps gives another",
                    file=sys.stderr,
                )
        aspect_ratio = commonest(Counter(ratio for _, ratio in facts if ratio is not None))
    reader = _SegmentReader(read, fps)
    write_corpus(
        output,
        source,
        splits,
        lambda split, sentence: reader.read(files[split, sentence.id], sentence.segment),
        fps=corpus_fps,
        aspect_ratio=aspect_ratio,
        format=format,
        options={"normalize": normalize, "resample_fps": resample_fps},
        skip_bad=skip_bad,
        progress=progress,
    )


def write_corpus(
    output: Path,
    source: Path,
    splits: dict[str, list[TranscribedSentence]],
    read: Callable[[str, TranscribedSentence], LandmarkRecording],
    *,
    fps: float,
    aspect_ratio: float,
    format: str,
    options: dict[str, Any],
    skip_bad: bool,
    progress: bool,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Write the corpus of an import, sentence by sentence, with all checks.

    Args:
        output: the corpus folder to write.
        source: the input, for messages.
        splits: the sentences of each split.
        read: gives the recording of a sentence, with its `fps`, or raises DataError.
        fps, aspect_ratio: of the corpus; recordings with others are converted.
        format, options: of the command, for corpus.json.
        skip_bad, progress: see `import_landmark_files`.
        finish: called after all recordings were read; it may raise DataError.

    Raises DataError for unreadable sentences, and for landmarks that are not those of a signer.
    """
    failures, checks = ImportFailures(), ImportChecks(source)
    made_by = {"command": "import", "format": format, "input": source.resolve().name, **options}
    with (
        CorpusWriter(
            output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by
        ) as writer,
        ProgressBar("import", sum(map(len, splits.values())), "sentence", progress) as bar,
    ):
        for split, sentences in splits.items():
            for sentence in sentences:
                with failures.collect(split, sentence.id):
                    recording = read(split, sentence)
                    landmarks = to_aspect_ratio(
                        recording.landmarks, recording.aspect_ratio or aspect_ratio, aspect_ratio
                    )
                    checks.add(split, sentence.id, landmarks, recording.detected)
                    assert recording.fps is not None, "the reader sets it"
                    times = frame_times(len(landmarks), recording.fps)
                    frames = at_rate(times, landmarks, recording.detected, fps)
                    gloss_times = recording.gloss_times
                    if gloss_times is not None:
                        gloss_times = scale_times(gloss_times, len(landmarks), len(frames[0]))
                    writer.split(split).add(
                        sentence.id, sentence.signer, sentence.glosses, *frames, gloss_times
                    )
                bar.update()
        failures.report(skip_bad)
        finish()
        checks.finish()
    warn_of_unseen_sentences(output)


class _SegmentReader:
    """Reads landmark files, and cuts segments out of them. It keeps the last file, because the
    sentences of one recording often follow each other.

    Every recording that it gives has an `fps`.
    """

    def __init__(self, read: Callable[[Path], LandmarkRecording], fps: float | None):
        """fps: frames per second that the user gives; they replace those of the files."""
        self._read, self._fps = read, fps
        self._last: tuple[Path, LandmarkRecording] | None = None

    def read(self, path: Path, segment: Segment | None) -> LandmarkRecording:
        """Read a segment of a file, or the whole file where `segment` is None.

        Raises DataError when the file cannot be read, or the segment is outside of it or has no
        frame.
        """
        if segment is None:
            return self._read_whole(path)
        if self._last is None or self._last[0] != path:
            self._last = None  # two recordings need not fit into memory
            self._last = path, self._read_whole(path)
        recording = self._last[1]
        fps, first = recording.fps or FPS, recording.first_frame
        stop = first + len(recording.landmarks)
        try:
            segment.check_inside(first, stop, fps, stop / fps)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        inside = np.array([segment.contains(n, n / fps) for n in range(first, stop)])
        if not inside.any():
            raise DataError(
                f"{path}: no frame is in the segment {segment}, which is shorter than a frame: "
                "correct it, or remove the sentence from the annotations"
            )
        return replace(
            recording, landmarks=recording.landmarks[inside], detected=recording.detected[inside]
        )

    def _read_whole(self, path: Path) -> LandmarkRecording:
        recording = self._read(path)
        if self._fps is None and recording.fps is not None:
            check_rate(recording.fps, str(path))
        return replace(recording, fps=self._fps or recording.fps or FPS)


def _refuse_pickles(source: Path) -> None:
    for folder, _, files in os.walk(source):
        for file in sorted(files):
            if Path(file).suffix.lower() in PICKLES:
                raise DataError(
                    f"{Path(folder, file)} is a pickle and is not opened, because a pickle can run "
                    "any program; open it where you trust it, save each sentence's landmarks with "
                    "numpy.save, and move the pickle out of the input folder; --format isharah "
                    "reads the pickles of Isharah's challenges"
                )


def _match_files(
    splits: dict[str, list[TranscribedSentence]],
    recordings: list[RecordingFile],
    source: Path,
    annotations: Path,
) -> dict[tuple[str, str], Path]:
    """The file of each sentence, by (split, id).

    Raises DataError when sentences have no file or files have no annotation.
    """
    matched, unused = match_recording_files(splits, recordings)
    without_file = [
        f"{split} {sentence.id}"
        for split, sentences in splits.items()
        for sentence in sentences
        if (split, sentence.id) not in matched
    ]
    without_annotation = [str(recording.path.relative_to(source)) for recording in unused]
    problems = []
    if without_file:
        count = sum(map(len, splits.values()))
        problems.append(
            f"{len(without_file)} of {count} sentences have no file in {source}: "
            f"{shown_names(without_file)} (add or rename the files, or remove the rows)"
        )
    if without_annotation:
        problems.append(
            f"{len(without_annotation)} files have no annotation in {annotations}: "
            f"{shown_names(without_annotation)} (add rows for them, or move the files elsewhere)"
        )
    if problems:
        raise DataError("; ".join(problems))
    return {key: recording.path for key, recording in matched.items()}
