"""Which file, or which column, puts a sentence into which split, and what other columns mean."""

import pytest

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
