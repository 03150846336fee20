"""Recordings: which one belongs to which sentence, and the order of their video frames."""

import os
import re
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from data.sources.annotations.segments import FRAMES, Segment
from data.sources.annotations.transcripts import TranscribedSentence
from data.sources.video_files import (
    RecordingFile,
    find_recording_files,
    frame_files,
    match_recording_files,
    signature,
)
from errors import DataError


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def sentence(id: str, recording: str = "") -> TranscribedSentence:
    return TranscribedSentence(id, "anna", ("A",), recording=recording)


def matched(root: Path, **splits: list[TranscribedSentence]) -> tuple[dict[str, str], list[str]]:
    """The result of match_recording_files as {'split id': place} and unused places."""
    found, unused = match_recording_files(splits, find_recording_files(root))
    return (
        {" ".join(key): str(recording.path.relative_to(root)) for key, recording in found.items()},
        [str(recording.path.relative_to(root)) for recording in unused],
    )


def test_videos_and_folders_of_frames_are_found_hidden_ones_are_not(tmp_path):
    make(
        tmp_path,
        "a.mp4",
        "b/c.MKV",
        "d/1/x1.png",
        "e/x1.jpg",
        "notes.txt",
        ".hidden.mp4",
        ".git/x.png",
        "empty/readme",
    )
    found = [
        (str(file.path.relative_to(tmp_path)), file.parts, file.is_video)
        for file in find_recording_files(tmp_path)
    ]
    assert found == [
        ("a.mp4", ("a",), True),
        ("b/c.MKV", ("b", "c"), True),
        ("d/1", ("d", "1"), False),
        ("e", ("e",), False),
    ]


def test_a_link_in_a_circle_ends(tmp_path):
    make(tmp_path, "a/x.mp4")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert [file.path.name for file in find_recording_files(tmp_path)] == ["x.mp4"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_does_not_lead_out_of_the_input(what, tmp_path):
    features = make(tmp_path / "features", "train/s1.npy", "dev/d1.npy")
    make(tmp_path / "secret", "s9.npy")
    link = features / ("train/s9.npy" if what == "file" else "more")
    link.symlink_to(tmp_path / "secret" / ("s9.npy" if what == "file" else ""))
    with pytest.raises(
        DataError, match=r"is a link out of .*features, to .*secret.*, and is not followed"
    ):
        find_recording_files(features, (".npy",), ())
    link.unlink()
    link.symlink_to(features / ("train/s1.npy" if what == "file" else "dev"))
    find_recording_files(features, (".npy",), ())


@pytest.mark.parametrize("frames", ["s1/1/s1_fn{:06d}-0.png", "s1/images{:04d}.png"])
@pytest.mark.parametrize("below", ["", "train/", "features/fullFrame-210x260px/train/"])
def test_phoenix_in_its_own_layout_and_flat(tmp_path, frames, below):
    make(tmp_path, *(below + frames.format(number) for number in range(3)))
    found, unused = matched(tmp_path, train=[sentence("s1", "s1/1/*.png")])
    assert found == {"train s1": str(Path(below + frames).parent)}
    assert unused == []


def test_the_folder_of_the_split_decides_between_equal_names(tmp_path):
    make(tmp_path, "train/s1.mp4", "dev/s1.mp4")
    found, unused = matched(tmp_path, train=[sentence("s1")], dev=[sentence("s1")])
    assert (found, unused) == ({"train s1": "train/s1.mp4", "dev s1": "dev/s1.mp4"}, [])


def test_the_annotation_file_may_give_another_name_or_path(tmp_path):
    make(tmp_path, "clips/1.mp4", "clips/2.mp4", "s3.mov", "left.webm")
    rows = [
        sentence("s1", "clips/1.mp4"),
        sentence("s2", "/home/anna/clips/2.mp4"),
        sentence("s3", "x/1/*.png"),
    ]
    found, unused = matched(tmp_path, train=[*rows, sentence("s4", "gone.mp4")])
    assert found == {"train s1": "clips/1.mp4", "train s2": "clips/2.mp4", "train s3": "s3.mov"}
    assert unused == ["left.webm"]


def test_the_folder_1_of_phoenix_is_no_rule_for_other_recordings(tmp_path):
    root = make(tmp_path / "a", "monday/1.mp4", "monday/2.mp4", "monday.mp4")
    rows = [sentence("s1", "monday/1"), sentence("s2", "monday/2"), sentence("monday")]
    assert matched(root, train=rows) == (
        {"train s1": "monday/1.mp4", "train s2": "monday/2.mp4", "train monday": "monday.mp4"},
        [],
    )
    root = make(tmp_path / "b", "train/1/x1.png", "train/2/x1.png")
    assert matched(root, train=[sentence("1"), sentence("2")])[0] == {
        "train 1": "train/1",
        "train 2": "train/2",
    }


def test_names_that_look_like_something_else(tmp_path):
    """A folder of frames that is named like a video, an id that ends like one, and a star."""
    root = make(tmp_path / "a", "x.mp4/0001.png", "x.mp4/0002.png", "a*.mp4")
    assert matched(root, train=[sentence("x.mp4"), sentence("a*")])[0] == {
        "train x.mp4": "x.mp4",
        "train a*": "a*.mp4",
    }
    folder = next(file for file in find_recording_files(root) if file.path.is_dir())
    assert not folder.is_video
    root = make(tmp_path / "b", "clip.mp4.npy")
    found, _ = match_recording_files(
        {"train": [sentence("clip.mp4")]}, find_recording_files(root, (".npy",), ())
    )
    assert len(found) == 1


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"a\.mp4 is a link that leads to itself: remove it"):
        find_recording_files(tmp_path)


def test_many_sentences_in_phoenix_s_layout_are_matched_in_linear_time(tmp_path):
    places = [f"{number:05d}/1" for number in range(3000)]
    recordings = [RecordingFile(tmp_path / place, tuple(place.split("/"))) for place in places]
    rows = [sentence(place.split("/")[0], f"{place}/*.png") for place in places]
    started = time.process_time()
    found, unused = match_recording_files({"train": rows}, recordings)
    assert len(found) == 3000 and not unused
    assert time.process_time() - started < 2


def test_a_frame_that_is_replaced_changes_the_signature(tmp_path):
    root = make(tmp_path, "d/x1.png", "d/x2.png", "v.mp4")
    before = [signature(file) for file in find_recording_files(root)]
    assert [signature(file) for file in find_recording_files(root)] == before
    for name in ("d/x1.png", "v.mp4"):
        (root / name).write_bytes(b"y")
        os.utime(root / name, ns=(1, 2**62))
    after = [signature(file) for file in find_recording_files(root)]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_two_recordings_of_one_sentence(tmp_path):
    make(tmp_path, "a/s1.mp4", "b/s1.avi")
    with pytest.raises(
        DataError, match=r"train sentence 's1' has 2 recordings, .*a/s1\.mp4 and .*b/s1\.avi"
    ):
        matched(tmp_path, train=[sentence("s1")])


def test_two_sentences_of_one_recording(tmp_path):
    make(tmp_path, "s1.mp4")
    with pytest.raises(
        DataError,
        match=r"train sentence 's1' and dev sentence 's9' have the same recording .*s1\.mp4",
    ):
        matched(tmp_path, train=[sentence("s1")], dev=[sentence("s9", "s1.mp4")])


def test_different_segments_may_share_a_recording(tmp_path, capsys):
    make(tmp_path, "s1.mp4")

    def cut(id, start, end):
        return replace(sentence(id, "s1.mp4"), segment=Segment(start, end, FRAMES))

    rows = [cut("a", 0, 15), cut("b", 15, 30)]
    found, unused = matched(tmp_path, train=rows, dev=[cut("c", 30, 40)])
    assert found == {"train a": "s1.mp4", "train b": "s1.mp4", "dev c": "s1.mp4"}
    assert unused == []
    assert capsys.readouterr().err == ""
    matched(tmp_path, train=[*rows, cut("c", 10, 20)])
    assert capsys.readouterr().err.startswith("warning: 2 segments overlap an earlier one")
    (tmp_path / "s1.mp4").rename(tmp_path / "s1\x1b[2J.mp4")
    rows = [
        replace(cut(one, *ends), recording="s1\x1b[2J.mp4")
        for one, ends in {"a": (0, 15), "b": (10, 30)}.items()
    ]
    matched(tmp_path, train=rows)
    assert r"in the recording" in (told := capsys.readouterr().err) and r"s1\x1b[2J.mp4" in told
    (tmp_path / "s1\x1b[2J.mp4").rename(tmp_path / "s1.mp4")
    rows = [cut("a", 0, 15), cut("b", 15, 30)]
    with pytest.raises(DataError, match=r"'a' and dev sentence 'd' overlap .* recording .*s1\.mp4"):
        matched(tmp_path, train=rows, dev=[cut("d", 1, 15)])
    with pytest.raises(
        DataError,
        match=r"train sentence 'a' and dev sentence 'd' have the same segment from frame 0 to "
        r"before frame 15 of the recording .*s1\.mp4: remove one",
    ):
        matched(tmp_path, train=rows, dev=[cut("d", 0, 15)])
    whole = sentence("w", "s1.mp4")
    for both in ([*rows, whole], [whole, *rows]):
        with pytest.raises(DataError, match=r"'[aw]' and train sentence '[aw]' have the same rec"):
            matched(tmp_path, train=both)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_in_one_unicode_form(tmp_path, form):
    """macOS writes file names in another form than most editors."""
    names = [unicodedata.normalize(form, name) for name in ("grün.mp4", "über/1/x1.png")]
    make(tmp_path, *names)
    other = "NFD" if form == "NFC" else "NFC"
    rows = [unicodedata.normalize(other, id) for id in ("grün", "über")]
    found, unused = matched(tmp_path, train=[sentence(id) for id in rows])
    assert list(found.values()) == [names[0], str(Path(names[1]).parent)]
    assert unused == []


def test_an_input_without_recordings_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match=r"has no recordings in it: expected files \.mp4, .* or folders of frames \(\.png",
    ):
        find_recording_files(make(tmp_path, "notes.txt"))
    with pytest.raises(DataError, match="nowhere does not exist"):
        find_recording_files(tmp_path / "nowhere")


def numbers(folder: Path) -> list[str]:
    return [
        re.findall("[0-9]+", file.stem)[-2 if "fn" in file.stem else -1]
        for file in frame_files(folder)
    ]


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    make(tmp_path, "a/9.png", "a/10.png", "a/8.png", "a/.DS_Store", "a/notes.txt")
    assert numbers(tmp_path / "a") == ["8", "9", "10"]
    make(tmp_path, *(f"b/01April_2010.avi_pid0_fn{number:06d}-0.png" for number in (54, 55, 56)))
    assert numbers(tmp_path / "b") == ["000054", "000055", "000056"]
    make(tmp_path, "c/frame_1_0.00.jpg", "c/frame_2_0.40.jpg", "c/frame_3_0.80.jpg")
    assert [file.name for file in frame_files(tmp_path / "c")] == sorted(
        p.name for p in (tmp_path / "c").iterdir()
    )
    assert [file.name for file in frame_files(make(tmp_path, "d/only.png") / "d")] == ["only.png"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["f1.png", "f2.png", "f4.png"], "frame 3 is missing: f2.png is followed by f4.png"),
        (["a.png", "b.png"], "not numbered in one way: a.png and b.png"),
        (["f1.png", "f1.jpg"], "not numbered in one way"),
        (["f1.png", "g2.png"], "not numbered in one way"),
    ],
)
def test_frames_that_cannot_be_ordered(tmp_path, files, message):
    with pytest.raises(DataError, match=re.escape(message)):
        frame_files(make(tmp_path, *files))
