"""RWTH-BOSTON-104's tables of hand positions become a corpus."""

import numpy as np
import pytest

import prepare_data
from data.corpus import Corpus
from data.corpus_check import check_corpus
from data.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_SHOULDER, RIGHT_WRIST
from data.sources.corpora.boston104 import import_boston104
from errors import DataError, UsageError

POSITIONS = "video,frame,left-x,left-y,right-x,right-y,nose-x,nose-y"
WORDS = "video,speaker,word,startframe,endframe"


def write_tables(folder, videos=(1, 2, 10), frames=12):
    """Tables of three videos: 1 and 10 are train sentences, 2 is a test sentence."""
    folder.mkdir()
    rows = [POSITIONS]
    for video in videos:
        for frame in range(frames):
            rows.append(f"{video},{frame},{180 + frame},150,{140 - video},140,161,62")
    (folder / "hands_condensed.csv").write_text("\n".join(rows) + "\n")
    (folder / "speaker.csv").write_text("video,speaker\n1,woman-1\n2,man-1\n10,woman-1\n")
    train = [WORDS, "10,woman-1,WRITE,6,9", "1,woman-1,WRITE,6,9", "1,woman-1,JOHN,1,4"]
    (folder / "train_words.csv").write_text("\n".join([*train, ""]))
    (folder / "test_words.csv").write_text(f"{WORDS}\n2,man-1,JOHN,2,8\n")
    return folder


def test_the_tables_become_a_corpus(tmp_path):
    import_boston104(write_tables(tmp_path / "boston104"), tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    assert [(one.id, one.signer, one.glosses) for one in corpus.split("train").sentences] == [
        ("v001", "woman-1", ("JOHN", "WRITE")),
        ("v010", "woman-1", ("WRITE",)),
    ]
    assert [(one.id, one.signer) for one in corpus.split("test").sentences] == [("v002", "man-1")]
    assert (corpus.fps, corpus.aspect_ratio) == (30, 312 / 242)
    landmarks, detected = corpus.split("train").read(0)
    assert detected[:, 0].all() and not detected[:, 1:].any()
    np.testing.assert_allclose(landmarks[3, NOSE, :2], (161 / 312, 62 / 242), atol=2e-4)
    np.testing.assert_allclose(landmarks[3, LEFT_WRIST, :2], (183 / 312, 150 / 242), atol=2e-4)
    np.testing.assert_allclose(landmarks[3, RIGHT_WRIST, :2], (139 / 312, 140 / 242), atol=2e-4)
    offsets = landmarks[:, [LEFT_SHOULDER, RIGHT_SHOULDER], :2] - landmarks[:, NOSE : NOSE + 1, :2]
    np.testing.assert_allclose(offsets[5], [(0.16, 0.3), (-0.16, 0.3)], atol=2e-4)
    elbows = landmarks[:, [13, 14], :2]
    np.testing.assert_allclose(elbows, landmarks[:, [NOSE, NOSE], :2], atol=2e-4)
    assert check_corpus(tmp_path / "out").problem_count == 0


def test_the_frames_of_the_signs_are_kept(tmp_path):
    folder = write_tables(tmp_path / "boston104")
    table = folder / "train_words.csv"
    table.write_text(table.read_text() + "1,woman-1,LATE,10,20\n1,woman-1,GONE,12,14\n")
    import_boston104(folder, tmp_path / "out")
    train = Corpus(tmp_path / "out").split("train")
    # The tables count the last frame in. The video has 12 frames.
    assert train.sentences[0].glosses == ("JOHN", "WRITE", "LATE", "GONE")
    assert train.times_of(0).tolist() == [[1, 5], [6, 10], [10, 12], [-1, -1]]
    import_boston104(folder, tmp_path / "twice", resample_fps=60)
    train = Corpus(tmp_path / "twice").split("train")
    assert train.sentences[0].frames == 23
    assert train.times_of(1).tolist() == [[12, 19]]  # 6 to 10 of 12 frames


def test_a_frame_without_a_row_is_undetected(tmp_path):
    folder = write_tables(tmp_path / "boston104")
    table = folder / "hands_condensed.csv"
    rows = [line for line in table.read_text().splitlines() if not line.startswith("1,4,")]
    table.write_text("\n".join(rows) + "\n")
    import_boston104(folder, tmp_path / "out")
    detected = Corpus(tmp_path / "out").split("train").read(0)[1]
    assert np.flatnonzero(~detected[:, 0]).tolist() == [4] and len(detected) == 12


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("hands_condensed.csv", "nose-y\n", "nose\n", "line 1: expected the header 'video,frame,"),
        ("hands_condensed.csv", "1,3,183,150", "1,3,183", "line 5: expected 8 fields, found 7"),
        ("hands_condensed.csv", "1,3,183", "1,3,x", "line 5: left-x is 'x', expected a number"),
        ("hands_condensed.csv", "1,3,183", "1,3,nan", "line 5: left-x is 'nan'"),
        ("hands_condensed.csv", "1,3,183", "1,1e12,183", "line 5: frame is '1e12'"),
        ("hands_condensed.csv", "1,4,184", "1,3,184", "line 6: a second row of frame 3 of video 1"),
        ("hands_condensed.csv", "1,4,184", "1,9999,184", "video 1 has 12 rows, but one .* 9999"),
        ("hands_condensed.csv", "1,3,183", '"1,3,183', "line [0-9]+: unexpected end of data"),
        ("speaker.csv", "10,woman-1\n", "", "has no speaker of the video 10"),
        ("train_words.csv", "1,woman-1,JOHN,1,4", "1,woman-1,JOHN,-1,4", "line 4: startframe"),
        ("test_words.csv", "2,man-1", "1,man-1", "train_words.csv has the video 1, too"),
        ("train_words.csv", "JOHN,1,4", "JOHN,4,1", "line 4: endframe 1 is before startframe 4"),
    ],
)
def test_damaged_tables_are_named(tmp_path, name, old, new, message):
    table = write_tables(tmp_path / "boston104") / name
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        import_boston104(tmp_path / "boston104", tmp_path / "out")
    assert name in str(caught.value) and not (tmp_path / "out").exists()


def test_missing_tables_and_positions_are_named(tmp_path):
    folder = write_tables(tmp_path / "boston104", videos=(1, 2))
    with pytest.raises(DataError, match=r"hands_condensed\.csv has no positions of the video 10"):
        import_boston104(folder, tmp_path / "out")
    (folder / "test_words.csv").unlink()
    with pytest.raises(DataError, match=r"test_words\.csv is missing: expected the tables of"):
        import_boston104(folder, tmp_path / "out")


def test_the_command_needs_no_annotations(tmp_path, capsys):
    folder = write_tables(tmp_path / "boston104")
    words = ["import", "--format", "boston104", "--input", str(folder)]
    words += ["--output", str(tmp_path / "out")]
    assert prepare_data.main(words) == 0
    assert "assumed: 30 frames/s (--fps)" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--annotations has no effect with --format boston104"):
        prepare_data.main([*words, "--annotations", str(folder)])
