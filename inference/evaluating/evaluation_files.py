"""The files of an evaluation: written at its end, and read again to compare with a later one."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.corpus import Split
from data.ctc_lengths import TIME_STRIDE
from data.output_place import check_output_files
from data.text_fields import nfc
from decoding.sclite import write_ctm, write_stm
from decoding.scoring import SentenceErrors, align
from errors import DataError, UsageError
from inference.output_paths import refuse_replaced_inputs
from inference.requests import HYPOTHESES
from models.checkpoint import checkpoint_in
from reports.result_files import write_hypotheses, write_json

SUBMISSION = "submission.csv"
SCORED_FILES = ("sentences.csv", "result.json", "references.stm", "report.html")
FILES = (HYPOTHESES, SUBMISSION, "environment.json", "hypotheses.ctm", *SCORED_FILES)


def check_folder(folder: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Raise UsageError or DataError unless the files of an evaluation can be written into a folder.

    inputs: the files that the evaluation reads. overwrite: replace an earlier evaluation.
    """
    if (found := checkpoint_in(folder)) is not None:
        raise UsageError(
            f"{folder} is the run folder of a training (it has {found.name}), and its report.html, "
            "result.json and environment.json would be replaced: choose another --output_dir, "
            f"such as {folder / 'evaluation'}"
        )
    files = [folder / name for name in FILES]
    refuse_replaced_inputs(files, inputs)
    check_output_files(files, overwrite)


def write_results(
    folder: Path,
    split: Split,
    hypotheses: Sequence[Sequence[str]],
    spans: Sequence[Sequence[tuple[int, int]]],
    fps: float,
    aligned: Sequence[SentenceErrors],
    result: dict[str, Any],
    session: dict[str, Any],
) -> None:
    """Write all files of an evaluation except its report. Raises DataError.

    Args:
        folder: exists already.
        hypotheses: the glosses of each sentence of the split.
        spans: first step and end step (exclusive) of these glosses, at a quarter of the frame rate.
        fps: frames per second of the corpus.
        aligned: the errors of each sentence.
        result: content of result.json.
        session: how this evaluation was run, for environment.json.
    """
    write_predictions(folder, split, hypotheses, spans, fps, session)
    sentences = split.sentences
    ids = [sentence.id for sentence in sentences]
    try:
        _write_sentences(folder / "sentences.csv", split, aligned)
        write_json(folder / "result.json", result)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from error
    seconds = [-(-sentence.frames // TIME_STRIDE) * TIME_STRIDE / fps for sentence in sentences]
    write_stm(
        folder / "references.stm",
        ids,
        [sentence.signer for sentence in sentences],
        seconds,
        [sentence.glosses for sentence in sentences],
    )


def write_predictions(
    folder: Path,
    split: Split,
    hypotheses: Sequence[Sequence[str]],
    spans: Sequence[Sequence[tuple[int, int]]],
    fps: float,
    session: dict[str, Any],
) -> None:
    """Write the files of an evaluation that need no references: hypotheses.csv, hypotheses.ctm,
    submission.csv and environment.json.

    The arguments are those of `write_results`. submission.csv has the columns `id,gloss`, one
    sentence per row in the order of the split, as the challenges on Isharah expect it. Raises
    DataError.
    """
    ids = [sentence.id for sentence in split.sentences]
    try:
        write_hypotheses(folder / HYPOTHESES, split.sentences, hypotheses)
        with (folder / SUBMISSION).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("id", "gloss"))
            rows.writerows(
                (id, " ".join(glosses)) for id, glosses in zip(ids, hypotheses, strict=True)
            )
        write_json(folder / "environment.json", {"sessions": [session]})
        # Those of an earlier evaluation with references would stand beside the new predictions
        for name in SCORED_FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from error
    write_ctm(folder / "hypotheses.ctm", ids, hypotheses, spans, TIME_STRIDE / fps)


def _write_sentences(path: Path, split: Split, aligned: Sequence[SentenceErrors]) -> None:
    """`id|signer|glosses|substitutions|deletions|insertions`: how many of each, one sentence per
    line, UTF-8."""
    with path.open("w", encoding="utf-8") as file:
        file.write("id|signer|glosses|substitutions|deletions|insertions\n")
        for sentence, errors in zip(split.sentences, aligned, strict=True):
            counts = (
                errors.reference_glosses,
                len(errors.substitutions),
                len(errors.deletions),
                len(errors.insertions),
            )
            file.write("|".join([sentence.id, sentence.signer, *map(str, counts)]) + "\n")


@dataclass(frozen=True)
class Baseline:
    """Another evaluation of the same sentences.

    aligned: the errors of each sentence. facts: `decoder`, `decoder_settings` and `scoring` of its
    result.json, each None if an earlier version did not write it.
    """

    folder: Path
    aligned: list[SentenceErrors]
    facts: dict[str, str | None]


def read_baseline(folder: Path, split: Split, scoring: str) -> Baseline:
    """Another evaluation of the same sentences, in the split's order.

    Args:
        folder: of that evaluation.
        scoring: of the evaluation that is compared with it.

    Raises UsageError if its hypotheses.csv or result.json cannot be read or is damaged, is not of
    these sentences, or has another scoring.
    """
    aligned = _read_errors(folder, split)
    facts = _read_facts(folder)
    if None in facts.values():
        missing = ", ".join(name for name, value in facts.items() if value is None)
        print(
            f"note: --compare_with {folder}: there is no result.json with {missing}: make sure "
            "that both evaluations are scored in the same way"
        )
    if facts["scoring"] not in (None, scoring):
        raise UsageError(
            f"--compare_with {folder} is an evaluation with --scoring {facts['scoring']}, this one "
            f"has --scoring {scoring}: their error rates cannot be compared; evaluate both with "
            "the same --scoring"
        )
    return Baseline(folder, aligned, facts)


def _read_facts(folder: Path) -> dict[str, str | None]:
    """How another evaluation decoded and scored: see `Baseline`."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        result = {}
    except OSError as error:
        raise UsageError(
            f"--compare_with {folder}: result.json cannot be read: {error.strerror}"
        ) from None
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        raise UsageError(f"--compare_with {folder}: result.json is damaged: evaluate again")
    names = ("decoder", "decoder_settings", "scoring")
    found = {name: result.get(name) for name in names}
    return {name: value if isinstance(value, str) else None for name, value in found.items()}


def _read_errors(folder: Path, split: Split) -> list[SentenceErrors]:
    """The errors of each sentence of another evaluation, in the split's order."""
    path = folder / HYPOTHESES
    name = f"--compare_with {folder}: {path.name}"
    other_sentences = UsageError(f"{name} is not an evaluation of the same sentences")
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)
            for row in table:
                if None in row or None in row.values():
                    raise UsageError(
                        f"{name} is damaged: line {table.line_num} has other columns than the "
                        "header: evaluate again"
                    )
                if row["id"] in rows:
                    raise UsageError(f"{name} has the sentence {row['id']} twice: evaluate again")
                rows[row["id"]] = row
        references, hypotheses = (
            [tuple(nfc(rows[sentence.id][column]).split()) for sentence in split.sentences]
            for column in ("reference", "hypothesis")
        )
    except OSError as error:
        inside = ", ".join(str(one.parent) for one in sorted(folder.glob(f"*/{HYPOTHESES}")))
        if inside:
            raise UsageError(
                f"--compare_with {folder} is no evaluation: expected one of {inside}"
            ) from None
        raise UsageError(
            f"{name} there cannot be read: {error.strerror}: expected a folder that evaluate.py "
            "wrote"
        ) from None
    except csv.Error as error:
        raise UsageError(f"{name} is damaged: {error}: evaluate again") from None
    except (KeyError, UnicodeDecodeError):
        raise other_sentences from None
    if references != [sentence.glosses for sentence in split.sentences] or len(rows) != len(split):
        raise other_sentences
    return align(references, hypotheses)
