"""Transcripts: the formats of annotation files, their splits, and messages for damaged files."""

import re
from pathlib import Path

import pytest

from data.sources.annotations.transcripts import (
    TranscribedSentence,
    clean_train,
    keep_fraction,
    read_frames,
    read_splits,
    read_transcript,
    with_frames,
)
from errors import DataError, UsageError

HEADER = "id|folder|signer|annotation\n"


def table(path, *rows, header=HEADER):
    path.write_text(header + "".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def test_phoenix_rows_with_double_spaces(tmp_path):
    path = table(
        tmp_path / "train.corpus.csv",
        "a-1|a-1/1/*.png|Signer04|ICH  OSTERN __ON__ ",
        "b|b/*.png|Signer01|ÜBER REGEN",
    )
    assert read_transcript(path) == [
        TranscribedSentence("a-1", "Signer04", ("ICH", "OSTERN", "__ON__")),
        TranscribedSentence("b", "Signer01", ("ÜBER", "REGEN")),
    ]


def test_columns_are_found_by_name_whatever_the_editor_wrote(tmp_path):
    path = tmp_path / "x.csv"
    # Byte order mark, Windows line ends
    path.write_bytes(b"\xef\xbb\xbfsigner | annotation|id\r\nben|A B|s1\r\n\r\n")
    assert read_transcript(path) == [TranscribedSentence("s1", "ben", ("A", "B"))]


def test_an_empty_annotation_is_left_to_the_caller(tmp_path):
    path = table(tmp_path / "train.corpus.csv", "a|f|s| ")
    assert read_transcript(path)[0].glosses == ()
    with pytest.raises(DataError, match="annotation of 'a' is empty"):
        read_splits(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: expected a header like 'id|video|signer|annotation'"),
        ("id|folder|signer\na|f|X\n", "(no 'annotation' in it); name the columns so"),
        ("sep=;\nid;signer;annotation\n", "(no 'id' in it); name the columns so, and remove lines"),
        (HEADER, "no sentences under it"),
        (
            HEADER + "a|f|s|X\nb|f|s\n",
            "line 3: expected 4 fields 'id|folder|signer|annotation', found 3: 'b|f|s'",
        ),
        (HEADER + "a|f|s|X|Y\n", "line 2: expected 4 fields"),
        (HEADER + "a|f|s|X\n\na|f|s|Y\n", "line 4: id 'a' is already on line 2"),
        (HEADER + "|f|s|X\n", "line 2: the id is empty"),
        (HEADER + "a|f||X\n", "line 2: the signer is empty"),
        ((HEADER + "a|f|s|X\nb|f|s|\xdcBER\n").encode("latin-1"), "line 3: not UTF-8 text"),
    ],
)
def test_faults_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "train.corpus.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_transcript(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_transcript(tmp_path / "train.corpus.csv")
    with pytest.raises(DataError, match="Is a directory"):
        read_transcript(tmp_path)


def test_frames(tmp_path):
    path = table(tmp_path / "f.csv", "a|176", "b|1", header="id|frames\n")
    assert read_frames(path) == {"a": 176, "b": 1}
    sentences = [TranscribedSentence("b", "s", ("X",))]
    assert with_frames(sentences, path) == [TranscribedSentence("b", "s", ("X",), 1)]
    with pytest.raises(DataError, match=re.escape("has no frames for 1 of 2 sentences, first 'c'")):
        with_frames([*sentences, TranscribedSentence("c", "s", ("X",))], path)


@pytest.mark.parametrize(
    "count", ["0", "-3", "1.5", "", "many", "٣", pytest.param("9" * 5000, id="5000 digits")]
)
def test_frames_must_be_whole_and_above_zero(tmp_path, count):
    path = table(tmp_path / "f.csv", "a|12", f"b|{count}", header="id|frames\n")
    with pytest.raises(DataError, match="line 3: expected a whole number of frames above 0"):
        read_frames(path)


def corpus_folder(folder):
    for split, ids in (("train", "abc"), ("dev", "d")):
        table(folder / f"{split}.corpus.csv", *(f"{id}|f|s|X" for id in ids))
        table(
            folder / f"{split}.frames.csv", *(f"{id}|{ord(id)}" for id in ids), header="id|frames\n"
        )
    return folder


@pytest.mark.parametrize("as_folder", [False, True])
def test_splits_beside_the_train_file_are_found(tmp_path, as_folder):
    folder = corpus_folder(tmp_path)
    transcripts = folder if as_folder else folder / "train.corpus.csv"
    frames = folder if as_folder else folder / "train.frames.csv"
    splits = read_splits(transcripts, frames)
    assert list(splits) == ["train", "dev"]
    assert [(sentence.id, sentence.frames) for sentence in splits["train"]] == [
        ("a", 97),
        ("b", 98),
        ("c", 99),
    ]
    assert [(sentence.id, sentence.frames) for sentence in splits["dev"]] == [("d", 100)]
    assert [sentence.frames for sentence in read_splits(transcripts)["dev"]] == [None]


def test_a_csv_of_another_name_is_train_alone(tmp_path):
    path = table(corpus_folder(tmp_path) / "mine.csv", "z|f|s|X Y")
    assert read_splits(path) == {"train": [TranscribedSentence("z", "s", ("X", "Y"))]}


def test_one_frames_csv_of_another_name_serves_all_splits(tmp_path):
    folder = corpus_folder(tmp_path)
    lengths = table(folder / "lengths.csv", *(f"{id}|7" for id in "abcd"), header="id|frames\n")
    splits = read_splits(folder, lengths)
    assert {sentence.frames for sentences in splits.values() for sentence in sentences} == {7}


def test_a_split_without_its_frames_is_refused(tmp_path):
    folder = corpus_folder(tmp_path)
    (folder / "dev.frames.csv").unlink()
    with pytest.raises(DataError, match=r"dev\.frames\.csv is missing"):
        read_splits(folder, folder)


def test_dev_alone_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"dev\.corpus\.csv: give train\.corpus\.csv"):
        read_splits(corpus_folder(tmp_path) / "dev.corpus.csv")


def test_a_fraction_is_keyed_nested_and_in_order():
    sentences = [TranscribedSentence(f"s{number}", "x", ("A",)) for number in range(200)]
    tenth, half = keep_fraction(sentences, 0.1, seed=3), keep_fraction(sentences, 0.5, seed=3)
    assert (len(tenth), len(half)) == (20, 100)
    assert set(tenth) < set(half)
    assert tenth == [sentence for sentence in sentences if sentence in tenth]
    # Keyed by id, not by position
    assert keep_fraction(sentences[::-1], 0.1, seed=3) == tenth[::-1]
    assert set(keep_fraction(sentences, 0.1, seed=4)) != set(tenth)
    assert len(keep_fraction(sentences[:3], 0.01, seed=0)) == 1
    assert keep_fraction(sentences, 1.0, seed=0) == sentences


@pytest.mark.parametrize(
    ("name", "header", "row", "expected", "recording"),
    [
        (
            "PHOENIX-2014-T.train.corpus.csv",
            "name|video|start|end|speaker|orth|translation",
            "11August-8|11August-8/1/*.png|-1|-1|Signer08|JETZT WETTER|und nun das wetter .",
            ("11August-8", "Signer08", ("JETZT", "WETTER")),
            "11August-8/1/*.png",
        ),
        (
            "train.SI5.corpus.csv",
            "id|folder|signer|annotation",
            "a|a/1/*.png|S1|X Y",
            ("a", "S1", ("X", "Y")),
            "a/1/*.png",
        ),
        ("train.txt", "id|gloss", "02_0001|سوال هو ", ("02_0001", "02", ("سوال", "هو")), ""),
        ("train.csv", "id|gloss", "7|A", ("7", "unknown", ("A",)), ""),
        (
            "train.csv",
            "id|video|signer|annotation",
            "a|b/c.mp4|anna|X",
            ("a", "anna", ("X",)),
            "b/c.mp4",
        ),
        ("train.tsv", "ID\tSigner\tAnnotation", "7\tanna\tA B", ("7", "anna", ("A", "B")), ""),
        (
            "train.csv",
            "path,participant_id,sequence_id,sign",
            "t/2/9.parquet,2,9,wait",
            ("9", "2", ("wait",)),
            "t/2/9.parquet",
        ),
    ],
)
def test_the_tables_of_other_corpora(tmp_path, name, header, row, expected, recording):
    table(tmp_path / name, row, header=header + "\n")
    for given in (tmp_path, tmp_path / name):
        splits = read_splits(given)
        assert splits == {"train": [TranscribedSentence(*expected)]}
        assert splits["train"][0].recording == recording


def test_csl_daily_takes_its_splits_from_split_1(tmp_path):
    header = "index|name|length|gloss|char|word|postag\n"
    names = ["S000000_P0000_T00", "S000001_P0004_T00", "S000007_P0003_T00"]
    rows = [f"{number}|{name}|40|你 好|你 好|你好|v" for number, name in enumerate(names)]
    table(tmp_path / "video_map.txt", *rows, header=header)
    table(tmp_path / "split_1.txt", f"{names[1]}|dev", f"{names[0]}|train", header="name|split\n")
    splits = read_splits(tmp_path)
    assert {split: [(s.id, s.signer) for s in rows] for split, rows in splits.items()} == {
        # The last one is in no split, as in the real files
        "train": [(names[0], "P0000"), (names[2], "P0003")],
        "dev": [(names[1], "P0004")],
    }
    assert splits["dev"][0].glosses == ("你", "好")
    table(tmp_path / "split_1.txt", f"{names[1]}|valid", header="name|split\n")
    with pytest.raises(
        DataError,
        match=r"split_1\.txt line 2: expected one of train, dev, test as the split, found 'valid'",
    ):
        read_splits(tmp_path)
    held_out = [f"{name}|dev" for name in names]
    table(tmp_path / "split_1.txt", *held_out, header="name|split\n")
    with pytest.raises(DataError, match=r"split_1\.txt puts all of its sentences into dev or test"):
        read_splits(tmp_path)


@pytest.mark.parametrize(
    "id, signer",
    [
        ("02_0001", "02"),
        ("S000007_P0003_T00", "P0003"),
        ("signer3_0001", "signer3"),
        ("P12_hello", "P12"),
        ("clip_0001", "unknown"),
        ("train_02_0001", "unknown"),
        ("sentence7", "unknown"),
        ("0001", "unknown"),
    ],
)
def test_the_signer_is_taken_from_ids_that_name_one(tmp_path, id, signer):
    """`id|gloss` files name no signer. A word such as clip is not one."""
    table(tmp_path / "train.csv", f"{id}|X", header="id|gloss\n")
    table(tmp_path / "dev.csv", "d|X", header="id|gloss\n")
    assert [s.signer for s in read_splits(tmp_path)["train"]] == [signer]


def test_the_corpus_s_own_folder_is_enough(tmp_path):
    (tmp_path / "annotations/manual").mkdir(parents=True)
    table(tmp_path / "annotations/manual/train.SI5.corpus.csv", "a|f|s|X")
    table(tmp_path / "annotations/manual/dev.SI5.corpus.csv", "b|f|s|X")
    assert list(read_splits(tmp_path)) == ["train", "dev"]


def test_annotations_that_are_ambiguous_or_missing(tmp_path):
    with pytest.raises(
        DataError, match=r"has no annotations in it: expected one of train\.corpus\.csv, "
    ):
        read_splits(tmp_path)
    table(tmp_path / "train.csv", "a|f|s|X")
    table(tmp_path / "train.corpus.csv", "a|f|s|X")
    with pytest.raises(
        UsageError, match=r"has train\.corpus\.csv and train\.csv: give the path of one of them"
    ):
        read_splits(tmp_path)
    (tmp_path / "csl2020ct_v2.pkl").write_bytes(b"x")
    with pytest.raises(DataError, match=r"csl2020ct_v2\.pkl is a pickle and is not opened"):
        read_splits(tmp_path / "csl2020ct_v2.pkl")


@pytest.mark.parametrize("rows", ["id\n08_0001\n08_0002\n", "id|gloss\n08_0001| \n08_0002|\n"])
def test_the_test_file_of_a_challenge_may_have_no_glosses(tmp_path, rows, capsys):
    table(tmp_path / "train.csv", "00_0001|سوال هو", header="id|gloss\n")
    (tmp_path / "test.csv").write_text(rows)
    found = read_splits(tmp_path)["test"]
    assert [(one.id, one.signer, one.glosses) for one in found] == [
        ("08_0001", "08", ()),
        ("08_0002", "08", ()),
    ]
    assert "test: 2 sentences without glosses: they can be predicted" in capsys.readouterr().out


def test_other_files_need_all_glosses(tmp_path):
    table(tmp_path / "train.csv", "00_0001|سوال هو", header="id|gloss\n")
    (tmp_path / "test.csv").write_text("id|gloss\n08_0001|هو\n08_0002|\n")
    with pytest.raises(DataError, match=r"test\.csv: the annotation of '08_0002' is empty"):
        read_splits(tmp_path)
    (tmp_path / "test.csv").unlink()
    (tmp_path / "dev.csv").write_text("id\n02_0001\n")
    with pytest.raises(DataError, match=r"dev\.csv line 1: expected a header like"):
        read_splits(tmp_path)
    (tmp_path / "dev.csv").write_text("id|gloss\n02_0001|\n")
    with pytest.raises(DataError, match=r"dev\.csv: the annotation of '02_0001' is empty"):
        read_splits(tmp_path)


def test_only_train_is_cleaned():
    raw = TranscribedSentence("s", "anna", ("loc-SUN", "SUN"), frames=9, recording="s/*.png")
    splits = {"train": [raw], "dev": [raw], "test": [raw]}
    clean_train(splits, Path("train.csv"))
    (cleaned,) = splits["train"]
    assert (cleaned.id, cleaned.signer, cleaned.glosses) == ("s", "anna", ("SUN",))
    assert (cleaned.frames, cleaned.recording) == (9, "s/*.png")
    assert splits["dev"] == splits["test"] == [raw]
    splits["train"] = [TranscribedSentence("s", "anna", ("__PU__",))]
    with pytest.raises(
        DataError, match=r"train\.csv: after the clean-up, 's' in train has no glosses"
    ):
        clean_train(splits, Path("train.csv"))
