"""Transcripts as files, compared with hand-written ones and read again with pympi."""

import json
import os
import re
from pathlib import Path

import pytest
from pympi import Eaf

from data.sources.video_files import VIDEO_SUFFIXES
from decoding.timed_gloss import TimedGloss
from inference.transcript_files import FORMATS, VIDEO_TYPES, Transcript, render, text_line

GLOSSES = [
    TimedGloss("GRÜẞEN", 0.0, 0.48, 0.99612),
    TimedGloss("你好", 0.48, 0.4801, 0.5),
    TimedGloss("A<B>&C", 3725.6789, 3726.0, 1.0),
]


def transcript(glosses=GLOSSES, simulated=False, source=None) -> Transcript:
    return Transcript("clip", source, simulated, {"seconds": 4000.0}, list(glosses))


def test_text():
    assert text_line(GLOSSES[0]) == "     0.00      0.48  1.00  GRÜẞEN"
    assert render(transcript(), "text").splitlines()[1].split() == ["0.48", "0.48", "0.50", "你好"]


def test_json_is_one_line_with_everything():
    written = render(transcript(simulated=True), "json")
    assert written.count("\n") == 1 and "你好" in written
    read = json.loads(written)
    assert read["name"] == "clip" and read["seconds"] == 4000.0 and read["simulated"] is True
    assert read["glosses"][0] == {
        "gloss": "GRÜẞEN",
        "start": 0.0,
        "end": 0.48,
        "confidence": 0.9961,
    }


def test_srt():
    assert render(transcript(), "srt") == (
        "1\n00:00:00,000 --> 00:00:00,480\nGRÜẞEN\n\n"
        "2\n00:00:00,480 --> 00:00:00,481\n你好\n\n"
        "3\n01:02:05,679 --> 01:02:06,000\nA<B>&C\n"
    )


def test_vtt():
    assert render(transcript(simulated=True), "vtt") == (
        "WEBVTT\n\nNOTE\ntranscribed by a model that was trained on simulated signers\n\n"
        "00:00:00.000 --> 00:00:00.480\nGRÜẞEN\n\n"
        "00:00:00.480 --> 00:00:00.481\n你好\n\n"
        "01:02:05.679 --> 01:02:06.000\nA&lt;B&gt;&amp;C\n"
    )
    assert "NOTE" not in render(transcript(), "vtt")


def test_arabic_glosses_keep_their_letters_and_their_order(tmp_path):
    """ELAN shows them from right to left by itself."""
    glosses = [TimedGloss("سوال", 0.0, 0.5, 1.0), TimedGloss("لا_2", 0.5, 1.0, 1.0)]
    path = tmp_path / "x.eaf"
    path.write_text(render(transcript(glosses), "eaf"), encoding="utf-8")
    found = Eaf(str(path)).get_annotation_data_for_tier("gloss")
    assert [text for _, _, text in sorted(found)] == ["سوال", "لا_2"]


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_cues_are_in_order_have_a_length_and_never_overlap(format):
    glosses = [
        TimedGloss("A", 0.9996, 1.0, 1),
        TimedGloss("B", 0.9998, 1.0002, 1),
        TimedGloss("C", 1.0, 59.9996, 1),
    ]
    times = []
    for stamp in re.findall(
        r"(\d\d):(\d\d):(\d\d)[.,](\d{3})", render(transcript(glosses), format)
    ):
        hours, minutes, seconds, rest = map(int, stamp)
        assert minutes < 60 and seconds < 60
        times.append(((hours * 60 + minutes) * 60 + seconds) * 1000 + rest)
    assert times == [1000, 1001, 1001, 1002, 1002, 60000]


@pytest.mark.parametrize("folder", [None, "beside"])
def test_pympi_reads_the_elan_file(tmp_path, folder):
    video = tmp_path / "my videos" / "clip ü.mp4"
    video.parent.mkdir()
    video.write_bytes(b"")
    beside = None if folder is None else tmp_path / folder
    path = tmp_path / "clip.eaf"
    path.write_text(
        render(transcript(simulated=True, source=video), "eaf", beside), encoding="utf-8"
    )
    read = Eaf(str(path))
    assert set(read.get_tier_names()) == {"gloss", "confidence"}
    expected = [(0, 480, "GRÜẞEN"), (480, 481, "你好"), (3725679, 3726000, "A<B>&C")]
    assert sorted(read.get_annotation_data_for_tier("gloss")) == expected
    assert [value for *_, value in sorted(read.get_annotation_data_for_tier("confidence"))] == [
        "1.00",
        "0.50",
        "1.00",
    ]
    (media,) = read.media_descriptors
    assert media["MEDIA_URL"] == video.as_uri() and media["MIME_TYPE"] == "video/mp4"
    assert media.get("RELATIVE_MEDIA_URL") == (
        None if folder is None else "../my videos/clip ü.mp4"
    )
    assert ("trained on", "simulated signers") in read.properties


@pytest.mark.parametrize("format", FORMATS)
def test_a_recording_without_a_gloss(format, tmp_path):
    written = render(transcript([]), format)
    if format == "eaf":
        (tmp_path / "x.eaf").write_text(written, encoding="utf-8")
        assert Eaf(str(tmp_path / "x.eaf")).get_annotation_data_for_tier("gloss") == []
    else:
        expected = {"text": "", "srt": "", "vtt": "WEBVTT\n"}
        assert (
            json.loads(written)["glosses"] == []
            if format == "json"
            else written == expected[format]
        )


def test_a_file_that_elan_cannot_play_is_not_linked(tmp_path):
    (tmp_path / "clip.pose").write_bytes(b"")
    assert "MEDIA_DESCRIPTOR" not in render(transcript(source=tmp_path / "clip.pose"), "eaf")


def test_a_folder_of_frames_is_not_linked():
    assert "MEDIA_DESCRIPTOR" not in render(transcript(source=Path(__file__).parent), "eaf")


def test_every_video_has_a_type_for_elan():
    """The system's tables take .ts for a translation, and have no .mkv in a small container."""
    assert set(VIDEO_TYPES) == set(VIDEO_SUFFIXES)
    assert all(kind.startswith("video/") for kind in VIDEO_TYPES.values())


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_utf_8_makes_valid_xml(tmp_path):
    video = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ts"))
    video.write_bytes(b"")
    (tmp_path / "o.eaf").write_text(render(transcript(source=video), "eaf", tmp_path), "utf-8")
    (media,) = Eaf(tmp_path / "o.eaf").media_descriptors
    assert (media["RELATIVE_MEDIA_URL"], media["MIME_TYPE"]) == ("caf%E9.ts", "video/mp2t")
