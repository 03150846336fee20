"""Transcripts as files: text, JSON, SubRip and WebVTT subtitles, and ELAN annotations. All are
UTF-8.

One gloss is one line, cue or annotation with its own times. Subtitle cues are in order, last at
least a millisecond and never overlap (https://www.w3.org/TR/webvtt1/). A file for ELAN
(https://archive.mpi.nl/tla/elan) has two tiers, `gloss` and `confidence`.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from decoding.timed_gloss import TimedGloss

FORMATS = ("text", "json", "srt", "vtt", "eaf")
# Of every suffix in data.sources.video_files.VIDEO_SUFFIXES. The tables of the system differ.
VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".mts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".3gp": "video/3gpp",
    ".ogv": "video/ogg",
}


@dataclass
class Transcript:
    """The glosses of one recording.

    Args:
        source: the recording's file or folder; None for a camera.
        simulated: whether the model was trained on simulated signers.
        facts: about the recording and the model, plain values.
    """

    name: str
    source: Path | None
    simulated: bool
    facts: dict[str, Any] = field(default_factory=dict)
    glosses: list[TimedGloss] = field(default_factory=list)


def text_line(gloss: TimedGloss) -> str:
    """`start end confidence gloss`, times in seconds."""
    return f"{gloss.start:9.2f} {gloss.end:9.2f}  {gloss.confidence:4.2f}  {gloss.gloss}"


def render(transcript: Transcript, format: str, folder: Path | None = None) -> str:
    """The transcript as text in one of FORMATS.

    folder: of the file that the text is written to, for ELAN's relative link to the video; None for
    the screen.
    """
    if format == "eaf":
        return _elan(transcript, folder)
    return {"text": _text, "json": _json, "srt": _srt, "vtt": _vtt}[format](transcript)


def _text(transcript: Transcript) -> str:
    return "".join(f"{text_line(gloss)}\n" for gloss in transcript.glosses)


def _json(transcript: Transcript) -> str:
    """One line, so that several recordings together are JSON Lines."""
    glosses = [
        {
            name: value if isinstance(value, str) else round(value, 4)
            for name, value in asdict(gloss).items()
        }
        for gloss in transcript.glosses
    ]
    content = {
        "name": transcript.name,
        **transcript.facts,
        "simulated": transcript.simulated,
        "glosses": glosses,
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def _srt(transcript: Transcript) -> str:
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{gloss.gloss}\n"
        for number, (gloss, start, end) in enumerate(_cues(transcript.glosses), start=1)
    ]
    return "\n".join(cues)


def _vtt(transcript: Transcript) -> str:
    head = ["WEBVTT\n"]
    if transcript.simulated:
        head.append("NOTE\ntranscribed by a model that was trained on simulated signers\n")
    cues = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(gloss.gloss)}\n"
        for gloss, start, end in _cues(transcript.glosses)
    ]
    return "\n".join([*head, *cues])


def _elan(transcript: Transcript, folder: Path | None) -> str:
    from pympi import Eaf

    document = Eaf(author="transcribe.py")
    document.remove_tier("default")
    for tier in ("gloss", "confidence"):
        document.add_tier(tier)
    if transcript.simulated:
        document.add_property("trained on", "simulated signers")
    source = transcript.source
    kind = None if source is None else VIDEO_TYPES.get(source.suffix.lower())
    # ELAN cannot play landmark files
    if source is not None and kind is not None and source.is_file():
        relative = None
        if folder is not None:
            relative = Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
            if not relative.isprintable():  # XML has no bytes that are not UTF-8
                relative = quote(os.fsencode(relative))
        document.add_linked_file(source.resolve().as_uri(), relative, kind)
    for gloss, start, end in _cues(transcript.glosses):
        document.add_annotation("gloss", start, end, gloss.gloss)
        document.add_annotation("confidence", start, end, f"{gloss.confidence:.2f}")
    with tempfile.TemporaryDirectory() as temporary:  # pympi only writes files
        path = Path(temporary) / "document.eaf"
        document.to_file(str(path))
        return path.read_text(encoding="utf-8") + "\n"


def _cues(glosses: Sequence[TimedGloss]) -> list[tuple[TimedGloss, int, int]]:
    """Each gloss with its start and end in whole milliseconds. A cue lasts at least one millisecond
    and starts at the end of the cue before it, or later."""
    cues, end = [], 0
    for gloss in glosses:
        start = max(round(1000 * gloss.start), end)
        end = max(round(1000 * gloss.end), start + 1)
        cues.append((gloss, start, end))
    return cues


def _clock(milliseconds: int, point: str) -> str:
    """hh:mm:ss.mmm, with `point` before the milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
