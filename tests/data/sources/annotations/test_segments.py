"""Segments: columns, units, and which frames belong to a segment."""

import re
from itertools import pairwise

import pytest

from data.sources.annotations.segments import (
    FRAMES,
    SECONDS,
    Segment,
    find_segment_columns,
    read_segment,
    segment_of,
    unit_without_name,
)
from data.sources.annotations.transcripts import read_splits, read_transcript
from errors import DataError


@pytest.mark.parametrize(
    ("start", "end", "unit"),
    [
        ("start", "end", "unnamed"),
        ("start_frame", "end_frame", "frames"),
        ("frame start", "frame end", "frames"),
        ("startframe", "endframe", "frames"),
        ("begin (s)", "stop (s)", "seconds"),
        ("start_time", "end_time", "seconds"),
        ("start_realigned", "end_realigned", "seconds"),
        ("onset_seconds", "offset_seconds", "seconds"),
        ("start_ms", "end_ms", "milliseconds"),
        ("begin time - msec", "end time - msec", "milliseconds"),
    ],
)
def test_the_names_of_columns(start, end, unit):
    found = find_segment_columns(["id", start, "signer", end], "x")
    assert (found.start, found.end, found.unit) == (start, end, unit)


def test_names_with_a_unit_come_before_names_without():
    header = ["start", "end", "start_time", "end_time"]
    assert find_segment_columns(header, "x").unit == "seconds"
    assert find_segment_columns([*header, "end_frame", "start_frame"], "x").unit == "frames"
    assert find_segment_columns(["id", "send", "restart", "starts", "weekend"], "x") is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["id", "start"], "the header has the column 'start' alone"),
        (["id", "end_time", "duration"], "the header has the column 'end_time' alone"),
        (["id", "start_frame", "end"], "the columns 'start_frame' and 'end' have different units"),
        (["id", "from", "to"], "the column 'from' seems to be the start or the end of a segment"),
        (["start_timestamp", "end_timestamp"], "the column 'start_timestamp' seems to be"),
        (["id", "end tc"], "the column 'end tc' seems to be"),
        (["start", "begin", "end"], "the header has the columns 'start' and 'begin'"),
    ],
)
def test_columns_that_cannot_be_understood(header, message):
    with pytest.raises(DataError, match=re.escape(f"t.csv line 1: {message}")):
        find_segment_columns(header, "t.csv line 1")


@pytest.mark.parametrize(
    ("texts", "unit", "expected"),
    [
        (("0", "15"), "frames", Segment(0, 15, FRAMES)),
        (("00:01:02.5", "1:00:04"), "seconds", Segment(62.5, 3604, SECONDS)),
        (("5.0", "7.0"), "frames", Segment(5, 7, FRAMES)),
        (("0.5", "1,25"), "seconds", Segment(0.5, 1.25, SECONDS)),
        (("500", "1250"), "milliseconds", Segment(0.5, 1.25, SECONDS)),
        (("-1", "-1"), "frames", None),
        (("", "NaN"), "seconds", None),
    ],
)
def test_the_fields_of_a_row(texts, unit, expected):
    assert read_segment(*texts, unit, "x") == expected


@pytest.mark.parametrize(
    ("texts", "unit", "message"),
    [
        (("5", "5"), "frames", "the segment from 5 to 5 is empty"),
        (("20", "5"), "frames", "the segment from 20 to 5 is reversed"),
        (("0.30", "0.2"), "seconds", "the segment from 0.30 to 0.2 is reversed"),
        (("5", "-1"), "frames", "has the start '5' and the end '-1'; give both"),
        (("", "9"), "seconds", "has the start '' and the end '9'; give both"),
        (("-5", "9"), "frames", "found '-5' as the start or end of a segment, expected a whole"),
        (("0.5", "9"), "frames", "expected a whole number of frames, 0 or above"),
        (("12,500", "13,000"), "milliseconds", "expected a whole number of milliseconds"),
        (("00:01:62.5", "00:01:64"), "seconds", "expected a number of seconds"),
        (("00:01:02.5", "00:01:04"), "frames", "expected a whole number of frames"),
        (("1e3", "2e3"), "seconds", "expected a number of seconds"),
    ],
)
def test_fields_that_are_no_segment(texts, unit, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_segment(*texts, unit, "t.csv line 7")
    assert str(caught.value).startswith("t.csv line 7: ")


def test_a_fraction_makes_columns_without_a_unit_seconds():
    assert unit_without_name([("x", "0"), ("x", "15"), ("x", "-1")]) == FRAMES
    assert unit_without_name([("x", "0"), ("x", "2.0"), ("x", "2.5")]) == SECONDS
    with pytest.raises(DataError, match=re.escape("t.csv line 2: found '5.0' in the columns")):
        unit_without_name([("x", "0"), ("t.csv line 2", "5.0")])


def frames_in(segment, fps, count=100):
    return [n for n in range(count) if segment.contains(n, n / fps)]


def test_segments_that_meet_share_no_frame_and_lose_none():
    assert frames_in(Segment(5, 20, FRAMES), 25) == [*range(5, 20)]
    assert frames_in(Segment(0.2, 0.8, SECONDS), 25) == [*range(5, 20)]
    for fps in (24, 25, 29.97, 30, 60):
        edges = [0, 0.333, 0.5, 1.0, 1.4667]
        parts = [frames_in(Segment(a, b, SECONDS), fps) for a, b in pairwise(edges)]
        assert [n for part in parts for n in part] == frames_in(Segment(0, 1.4667, SECONDS), fps)
    # The times of a container are rounded to milliseconds
    assert Segment(10 / 30, 1, SECONDS).contains(10, 0.333)


def test_before_and_after():
    segment = Segment(5, 20, FRAMES)
    assert [segment.is_after(n, 0) for n in (4, 5)] == [True, False]
    assert [segment.is_before(n, 0) for n in (19, 20)] == [False, True]


@pytest.mark.parametrize(
    ("segment", "inside"),
    [
        (Segment(0, 30, FRAMES), True),
        (Segment(0, 31, FRAMES), False),
        (Segment(0.5, 1.2, SECONDS), True),
        (Segment(0.5, 1.23, SECONDS), True),  # rounded: less than a frame behind the end
        (Segment(0.5, 1.25, SECONDS), False),
    ],
)
def test_a_segment_outside_of_the_recording_is_refused(segment, inside):
    if inside:
        segment.check_inside(0, 30, 25, 30 / 25)
        return
    with pytest.raises(DataError, match="is not inside of the recording, which has 30 frames"):
        segment.check_inside(0, 30, 25, 30 / 25)


def test_segments_as_stored_values():
    segment = Segment(0.5, 2, SECONDS)
    assert segment_of(segment.values) == segment
    for values in ([2, 1, "frames"], [0, 1, "hours"], [0, float("inf"), "frames"], [0, 1]):
        with pytest.raises(ValueError):
            segment_of(values)


def write(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_of_segments(tmp_path, capsys):
    header = "id|video|start|end|signer|annotation"
    path = write(tmp_path / "train.csv", header, "a|s1|0|15|A|X", "b|s1|15|30|A|Y", "c|s2|||A|Z")
    (splits,) = read_splits(path).values()
    assert [sentence.segment for sentence in splits] == [
        Segment(0, 15, FRAMES),
        Segment(15, 30, FRAMES),
        None,
    ]
    assert [sentence.frames for sentence in splits] == [15, 15, None]
    assert capsys.readouterr().out == (
        "2 sentences are segments of recordings: start and end are frame numbers that count from "
        "0, the end not included\n"
    )


def test_all_splits_have_one_unit(tmp_path, capsys):
    header = "id|video|start|end|signer|annotation"
    write(tmp_path / "train.csv", header, "a|s1|0|1.5|A|X", "b|s1|1.5|3|A|X")
    write(tmp_path / "dev.csv", header, "d|s2|0|2|A|X")
    assert read_splits(tmp_path)["dev"][0].segment == Segment(0, 2, SECONDS)
    assert "3 sentences are segments of recordings: start and end are seconds from" in (
        capsys.readouterr().out
    )


def test_phoenix_2014t_has_whole_recordings(tmp_path):
    path = write(
        tmp_path / "x.csv",
        "name|video|start|end|speaker|orth|translation",
        "a|a/1/*.png|-1|-1|Signer08|DRUCK TIEF|tiefer luftdruck",
        "b|b/1/*.png|0|49|Signer08|DRUCK|luftdruck",
    )
    assert [s.segment for s in read_transcript(path)] == [None, Segment(0, 49, FRAMES)]


def test_a_damaged_segment_names_its_line(tmp_path):
    path = write(tmp_path / "x.csv", "id|start|end|signer|annotation", "a|0|9|A|X", "b|9|3|A|X")
    with pytest.raises(DataError, match=r"x\.csv line 3: the segment from 9 to 3 is reversed"):
        read_transcript(path)
