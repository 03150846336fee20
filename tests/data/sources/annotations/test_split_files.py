"""Which file, or which column, puts a sentence into which split, and what other columns mean."""

import pytest

from data.sources.annotations.segments import SECONDS, Segment
from data.sources.annotations.transcripts import read_splits
from errors import DataError, UsageError


def write(folder, **files: str):
    """Files such as train_csv='id|gloss …', with rows separated by spaces."""
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text.replace(" ", "\n") + "\n", encoding="utf-8")
    return folder


def ids(splits) -> dict[str, list[str]]:
    return {name: [sentence.id for sentence in rows] for name, rows in splits.items()}


@pytest.mark.parametrize("header", ["id|video|signer|gloss", "id|path|speaker|gloss"])
def test_signer_and_recording_are_read_in_a_table_of_any_format(tmp_path, header):
    write(tmp_path, train_csv=f"{header} 2023_a|rec1.mp4|anna|X b|rec2.mp4|ben|Y")
    found = read_splits(tmp_path)["train"]
    assert [(one.id, one.signer, one.recording) for one in found] == [
        ("2023_a", "anna", "rec1.mp4"),
        ("b", "ben", "rec2.mp4"),
    ]


def test_a_signer_that_is_missing_in_its_column_is_refused(tmp_path):
    write(tmp_path, train_csv="id|signer|gloss a|anna|X b||Y")
    with pytest.raises(DataError, match=r"train\.csv line 3: the signer is empty"):
        read_splits(tmp_path)


def test_a_column_may_divide_one_file(tmp_path):
    table = "id|signer|annotation|split a|anna|X|train b|anna|Y|Val c|ben|Z|test d|ben|X|train"
    write(tmp_path, all_csv=table)
    expected = {"train": ["a", "d"], "dev": ["b"], "test": ["c"]}
    assert ids(read_splits(tmp_path / "all.csv")) == expected
    write(tmp_path, train_csv=table)
    assert ids(read_splits(tmp_path)) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_csv": "id|gloss|split a|X|train b|Y|x"}, "line 3: expected train, dev or test"),
        ({"train_csv": "id|gloss|split a|X|dev"}, "puts no sentence into train"),
        (
            {"train_csv": "id|gloss a|X", "dev_csv": "id|gloss|split b|Y|train"},
            r"dev\.csv line 2: expected dev as the split, found 'train'; correct it, or remove",
        ),
    ],
)
def test_a_column_that_contradicts_is_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        read_splits(write(tmp_path, **files))


@pytest.mark.parametrize("dev", ["dev_tsv", "dev_txt", "Dev_csv", "val_csv", "validation_tsv"])
def test_dev_and_test_may_have_another_ending_or_name(tmp_path, dev, capsys):
    write(tmp_path, Train_csv="id|gloss a|X", **{dev: "id|gloss b|X"}, test_csv="id|gloss c|X")
    assert ids(read_splits(tmp_path)) == {"train": ["a"], "dev": ["b"], "test": ["c"]}
    shown = capsys.readouterr().out
    assert ("dev: " in shown) == (dev != "Dev_csv") and "test: " not in shown


def test_the_same_ending_wins_and_two_others_are_refused(tmp_path):
    write(tmp_path, train_csv="id|gloss a|X", dev_csv="id|gloss b|X", dev_tsv="id|gloss c|X")
    assert ids(read_splits(tmp_path)) == {"train": ["a"], "dev": ["b"]}
    (tmp_path / "dev.csv").rename(tmp_path / "val.csv")
    with pytest.raises(UsageError, match=r"has val\.csv and dev\.tsv for dev: remove or rename"):
        read_splits(tmp_path)


def test_published_corpora_take_no_other_files(tmp_path):
    """The dev split of another task would be wrong."""
    rows = "id|folder|signer|annotation a|a|s|X"
    write(tmp_path, **{"train.SI5.corpus_csv": rows, "dev.corpus_csv": rows, "val_csv": rows})
    assert ids(read_splits(tmp_path / "train.SI5.corpus.csv")) == {"train": ["a"]}


@pytest.mark.parametrize(
    "header", ["id|annotation", "id|video|annotation", "id|speaker|annotation"]
)
def test_a_table_needs_no_column_signer(tmp_path, header):
    rows = {2: "a|X b|Y", 3: "a|anna|X b|ben|Y"}[header.count("|") + 1]
    write(tmp_path, train_csv=f"{header} {rows}")
    found = read_splits(tmp_path)["train"]
    expected = ["anna", "ben"] if "speaker" in header else ["unknown", "unknown"]
    assert [one.signer for one in found] == expected
    assert [one.glosses for one in found] == [("X",), ("Y",)]


def test_columns_that_are_not_used_are_told(tmp_path, capsys):
    write(tmp_path, train_csv="id|set|video|signer|notes|annotation a|validation|r|anna|good|X")
    read_splits(tmp_path)
    assert (
        "train.csv: columns that are not used: set, notes (one that names the splits must be "
        "called 'split')\n" in capsys.readouterr().out
    )
    write(
        tmp_path, train_csv="id|video|signer|start_frame|end_frame|split|gloss a|r|anna|0|9|train|X"
    )
    read_splits(tmp_path)
    assert "not used" not in capsys.readouterr().out


def test_two_files_for_one_split_are_refused(tmp_path):
    for name in ("train", "dev", "val"):
        write(tmp_path, **{f"{name}_csv": f"id|gloss {name}|X"})
    with pytest.raises(
        UsageError, match=r"has dev\.csv and val\.csv for dev: remove or rename one"
    ):
        read_splits(tmp_path)


def test_a_folder_without_a_train_file_is_told_with_what_it_has(tmp_path):
    write(tmp_path, all_csv="id|gloss a|X", notes_md="x")
    with pytest.raises(DataError, match=r"; it has all\.csv: give the path of the file"):
        read_splits(tmp_path)


def test_segments_of_elan(tmp_path):
    """Its export has the times in several forms: the first that is known counts."""
    columns = [
        "id",
        "Begin Time - hh:mm:ss.ms",
        "Begin Time - msec",
        "End Time - hh:mm:ss.ms",
        "End Time - msec",
        "annotation",
    ]
    rows = ["\t".join(columns), "a\t00:00:00.200\t200\t00:01:00.600\t60600\tHELLO", ""]
    (tmp_path / "train.tsv").write_text("\n".join(rows), encoding="utf-8")
    (sentence,) = read_splits(tmp_path)["train"]
    assert sentence.segment == Segment(0.2, 60.6, SECONDS)
