"""Recordings that people already have → a corpus folder.

mp_data   `<gloss>/<repetition>/<frame>.npy`, the folder layout of most MediaPipe tutorials: one vector a frame,
          pose 33 x (x, y, z, visibility), face 468 x 3, left hand 21 x 3, right hand 21 x 3 = 1662 values, or 258 without
          the face. Every recording becomes one sentence of one gloss in the split `train`.
npy       one .npy or .npz a sentence: (T, 1629) or (T, 543, 3) landmarks in the order of data/landmarks.py, (T, 543, 4)
          with a visibility that is left out, (T, 6516) values that begin with landmarks, or (T, 1662) as in mp_data.
pose      one .pose file a sentence (https://github.com/sign-language-processing/pose) with all of Holistic: 543 points, or
          576 and 586 with world landmarks and irises, which are left out.
parquet   one file a sentence of rows frame, type, landmark_index, x, y, z, as in Google's Kaggle competitions.

In mp_data and npy a part whose values are all exactly 0 in a frame was not detected there; in .pose
files a part without confidence, in parquet files a part that is NaN. Annotations are those of
data/sources/transcripts.py; which recording is a sentence's is found as with footage
(data/sources/video_files.py), for example `<split>/<id>.npy`.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from data.corpus_writer import CorpusWriter, check_output
from data.sources.landmark_files import READERS, _readable, check_image_coordinates
from data.sources.recording_facts import commonest, to_aspect_ratio
from data.sources.transcripts import TranscribedSentence, clean_train, read_splits
from data.sources.video_files import RecordingFile, find_recording_files, match_recording_files
from errors import DataError

PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


class ImportFailures:
    """The sentences of an import that cannot be read, with the reason."""

    def __init__(self):
        self._reasons: dict[tuple[str, str], str] = {}

    @contextlib.contextmanager
    def of(self, split: str, id: str) -> Iterator[None]:
        """What a sentence is read in: a DataError is taken down."""
        try:
            yield
        except DataError as error:
            self._reasons[split, id] = str(error)

    def judge(self, skip_bad: bool) -> None:
        """List them. Raises DataError unless `skip_bad` allows to leave them out, which it does in
        train alone."""
        for (split, id), reason in self._reasons.items():
            print(f"bad sentence: {split} sentence {id}: {reason}")
        refused = {
            key: reason
            for key, reason in self._reasons.items()
            if not (skip_bad and key[0] == "train")
        }
        if refused:
            (split, _), reason = next(iter(refused.items()))
            more = (
                f" (and {len(refused) - 1} more sentences, listed above)"
                if len(refused) > 1
                else ""
            )
            advice = (
                "--skip_bad leaves such sentences out"
                if split == "train"
                else f"every {split} sentence counts: repair it"
            )
            raise DataError(f"{reason}{more}; {advice}")


def import_landmark_files(
    source: Path,
    annotations: Path,
    output: Path,
    *,
    format: str,
    fps: float = 25.0,
    aspect_ratio: float = 210 / 260,
    normalize: str | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> None:
    """Write the corpus `output` from one file a sentence below `source` and `annotations` of any
    known format.

    format: 'npy', 'pose' or 'parquet', as told above. fps and aspect_ratio: of the recordings,
    where the files do not say (.pose files do; of several the corpus says the commonest, as with
    data/sources/extraction.py). normalize: 'phoenix2014' cleans the train annotations. skip_bad:
    leave train sentences out whose file cannot be read, which are listed, instead of refusing all.
    Refused are coordinates that are no fractions of the image: features that were standardised or
    centred cannot be turned back. Raises DataError naming the file, or the sentences that lack
    their file or annotation; UsageError when `output` exists.
    """
    check_output(output)
    suffixes, read = READERS[format]
    splits = read_splits(annotations)
    if normalize == "phoenix2014":
        clean_train(splits, annotations)
    _refuse_pickles(source)
    files = _match(splits, find_recording_files(source, suffixes, ()), source, annotations)
    check_image_coordinates(list(files.values()), read)
    if format == "pose":
        said = [(one.fps, one.aspect_ratio) for one in _readable(files.values(), read)]
        fps, aspect_ratio = (commonest(Counter(values)) for values in zip(*said, strict=True))
    faults = ImportFailures()
    made_by = {
        "command": "import",
        "format": format,
        "input": source.resolve().name,
        "normalize": normalize,
    }
    with (
        CorpusWriter(
            output, name=output.name, fps=fps, aspect_ratio=aspect_ratio, made_by=made_by
        ) as writer,
        tqdm(total=len(files), desc="import", disable=None if progress else True) as bar,
    ):
        for split, sentences in splits.items():
            for sentence in sentences:
                with faults.of(split, sentence.id):
                    sequence = read(files[split, sentence.id])
                    landmarks = to_aspect_ratio(
                        sequence.landmarks, sequence.aspect_ratio or aspect_ratio, aspect_ratio
                    )
                    writer.split(split).add(
                        sentence.id, sentence.signer, sentence.glosses, landmarks, sequence.detected
                    )
                bar.update()
        faults.judge(skip_bad)


def _refuse_pickles(source: Path) -> None:
    for folder, _, files in os.walk(source):
        for file in sorted(files):
            if Path(file).suffix.lower() in PICKLES:
                raise DataError(
                    f"{Path(folder, file)} is a pickle, which can run any program when it is opened, so it is not; open it "
                    "where you trust it, save each sentence's landmarks with numpy.save, and move it out of the input"
                )


def _match(
    splits: dict[str, list[TranscribedSentence]],
    recordings: list[RecordingFile],
    source: Path,
    annotations: Path,
) -> dict[tuple[str, str], Path]:
    """The file of each (split, id); a DataError lists the sentences without one and the files
    without an annotation."""
    matched, unused = match_recording_files(splits, recordings)
    missing = [
        f"{split} {one.id}"
        for split, rows in splits.items()
        for one in rows
        if (split, one.id) not in matched
    ]
    count, problems = sum(map(len, splits.values())), []
    for what, names in (
        (f"of {count} sentences have no file in {source}", missing),
        (
            f"files have no annotation in {annotations}",
            [str(one.path.relative_to(source)) for one in unused],
        ),
    ):
        if names:
            problems.append(
                f"{len(names)} {what}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
    if problems:
        raise DataError("; ".join(problems))
    return {key: recording.path for key, recording in matched.items()}
