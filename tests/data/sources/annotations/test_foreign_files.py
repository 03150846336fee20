"""Annotations that are not there, or are those of another program: what to do is said at once."""

import pytest

from data.sources.annotations.tables import Table
from data.sources.annotations.transcripts import read_splits
from errors import DataError, UsageError


def test_a_path_that_is_missing_names_its_option(tmp_path):
    (tmp_path / "train.csv").write_text("id|gloss\na|X\n")
    for name in ("an", "train.txt"):
        with pytest.raises(
            DataError,
            match=rf"^--annotations .*{name} is missing: expected the folder of the tables, or the "
            "table of train; check the path$",
        ):
            read_splits(tmp_path / name)
    with pytest.raises(DataError, match=r"^--transcripts .*an is missing"):
        read_splits(tmp_path / "an", option="--transcripts")
    with pytest.raises(DataError, match=r"^--frames .*an is missing"):
        read_splits(tmp_path, tmp_path / "an")


def test_the_splits_of_csl_daily_are_two_files(tmp_path):
    (tmp_path / "video_map.txt").write_text("index|name|length|gloss|char|word|postag\n")
    with pytest.raises(
        DataError,
        match=r"split_1\.txt is missing: expected the splits of CSL-Daily \(name\|split\) beside "
        r"video_map\.txt",
    ):
        read_splits(tmp_path)
    (tmp_path / "split_1.txt").write_text("name|split\na|train\n")
    with pytest.raises(UsageError, match=r"split_1\.txt names the splits .* give video_map\.txt"):
        read_splits(tmp_path / "split_1.txt")
    (tmp_path / "video_map.txt").unlink()
    (tmp_path / "split_1.txt").write_text("id|annotation\na|SUN\n")
    assert [one.glosses for one in read_splits(tmp_path / "split_1.txt")["train"]] == [("SUN",)]


def test_a_file_of_elan_is_told_how_to_export_it(tmp_path):
    (tmp_path / "talk.EAF").write_text("<?xml version='1.0'?>")
    with pytest.raises(DataError, match=r"EAF is a file of ELAN, .* export it in ELAN as tab-del"):
        read_splits(tmp_path / "talk.EAF")
    with pytest.raises(DataError, match=r"; it has talk\.EAF: export it in ELAN as tab-delimited"):
        read_splits(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "glosses\t\t00:00:01.240\t00:00:01.900\tHELLO",
        "glosses\tanna\t1.24\t1.9\t0.66\tHELLO",
        "glosses\t1240\t1900\tHELLO",
    ],
)
def test_a_table_of_elan_without_a_header(tmp_path, row):
    (tmp_path / "train.txt").write_text(row + "\n" + row + "\n")
    with pytest.raises(DataError, match=r"train\.txt line 1: expected a header .* of ELAN, export"):
        read_splits(tmp_path)
    (tmp_path / "train.txt").write_text("name\tgloss 2\n1\t2\n")
    with pytest.raises(DataError, match=r"expected a header .*; name the columns so"):
        read_splits(tmp_path)


def test_a_folder_with_a_workbook_is_told_to_save_it_as_csv(tmp_path):
    (tmp_path / "train.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"it has train\.xlsx: save the table as 'CSV UTF-8'$"):
        read_splits(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        DataError, match=r"notes\.txt: give the path .* train\.xlsx: save the table"
    ):
        read_splits(tmp_path)
    with pytest.raises(DataError, match=r"train\.xlsx is an Excel workbook .*'CSV UTF-8'$"):
        Table(tmp_path / "train.xlsx", ("id",))
