"""The annotation files of a corpus: which file has the sentences of which split."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from data.sources.annotations.tables import ELAN, EXPORT_ELAN, SAVE_WORKBOOK, WORKBOOKS
from errors import DataError, UsageError, printable

SPLITS = ("train", "dev", "test")
SPLIT_FILES = (
    "{}.corpus.csv",
    "{}.SI5.corpus.csv",
    "PHOENIX-2014-T.{}.corpus.csv",
    "{}.csv",
    "{}.tsv",
    "{}.txt",
)
# Patterns of names that people give their own files: those of dev and test may be of another one
_OWN_FILES = ("{}.csv", "{}.tsv", "{}.txt")
_TABLES = (".csv", ".tsv", ".txt")
# Names of the splits in file names and in the column `split`, by the names here
SPLIT_NAMES = {
    "train": ("train",),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test",),
}
# Names of the test lists of Isharah's challenge MSLR 2025, beside its train.txt and dev.txt
_CHALLENGE_TESTS = ("SI_test", "US_test")
CSL_TABLE, CSL_SPLITS = "video_map.txt", "split_1.txt"


def annotation_files(path: Path, patterns: Sequence[str], option: str) -> dict[str, Path]:
    """The file of each split. `path` is a train file with a name of `patterns`, its folder, or a
    file with another name; `option` is what gave it. Upper and lower case are the same."""
    if not os.path.exists(path):
        raise DataError(
            f"{option} {path} is missing: expected the folder of the tables, or the table of "
            "train; check the path"
        )
    if path.is_dir():
        folder = path / "annotations" / "manual"
        folder = folder if folder.is_dir() else path
        names = [pattern.format("train") for pattern in patterns] + [CSL_TABLE]
        there = _files_by_name(folder)
        found = [there[name.casefold()] for name in names if name.casefold() in there]
        if not found:
            raise DataError(
                f"{option} {folder} has no annotations in it: expected one of {', '.join(names)}"
                f"{_way_out(there.values())}"
            )
        if len(found) > 1:
            shown = " and ".join(file.name for file in found)
            raise UsageError(f"{folder} has {shown}: give the path of one of them")
        path = found[0]
    if path.name == CSL_SPLITS and path.with_name(CSL_TABLE).exists():
        raise UsageError(
            f"{option} {path} names the splits of CSL-Daily alone: give {CSL_TABLE}, or the folder "
            "of both"
        )
    for pattern in patterns:
        if path.name.casefold() == pattern.format("train").casefold():
            return {"train": path} | _held_out_files(path, pattern)
        if path.name.casefold() in {pattern.format(split).casefold() for split in SPLITS}:
            train = pattern.format("train")
            raise UsageError(
                f"{path}: give {train} instead; the other splits are found in its folder"
            )
    return {"train": path}


def _way_out(files: Collection[Path]) -> str:
    """What to do with the files of a folder that has no known one, as the end of a message."""
    text = ""
    for suffixes, advice in (
        (_TABLES, "give the path of the file"),
        (WORKBOOKS, SAVE_WORKBOOK),
        ((ELAN,), EXPORT_ELAN),
    ):
        found = [one.name for one in files if one.suffix.lower() in suffixes]
        if found:
            text += f"; it has {', '.join(found[:5])}: {advice}"
    return text


def _files_by_name(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names in lower case."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return {name.casefold(): folder / name for name in names if (folder / name).is_file()}


def _held_out_files(train: Path, pattern: str) -> dict[str, Path]:
    """The files of dev and test beside the train file, whose name has this pattern.

    People's own tables may have several endings, or the name val. Such a choice is printed.
    """
    there, found = _files_by_name(train.parent), {}
    others = _OWN_FILES if pattern in _OWN_FILES else ()
    for split in SPLITS[1:]:
        usual = pattern.format(split).casefold()
        if usual in there:
            found[split] = there[usual]
            same = [pattern.format(name).casefold() for name in SPLIT_NAMES[split] if others]
            _refuse_several(train.parent, split, [there[name] for name in same if name in there])
            continue
        own = (*SPLIT_NAMES[split], *(_CHALLENGE_TESTS if split == "test" else ()))
        names = [one.format(name).casefold() for one in others for name in own]
        possible = [there[name] for name in names if name in there]
        _refuse_several(train.parent, split, possible)
        if possible:
            found[split] = possible[0]
            print(printable(f"{split}: {possible[0]}"))
    return found


def _refuse_several(folder: Path, split: str, files: Sequence[Path]) -> None:
    if len(files) > 1:
        shown = " and ".join(file.name for file in files)
        raise UsageError(f"{folder} has {shown} for {split}: remove or rename one")
