"""The sentences of a split: the rows of its csv.

id|signer|frames|annotation
s1|anna|95|HELLO WORLD
"""

import contextlib
import gc
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.text_fields import is_nfc, nfc, unusable_character
from errors import DataError

CSV_HEADER = "id|signer|frames|annotation"
_FRAMES = re.compile("0|[1-9][0-9]{0,8}")  # number of a sentence's frames in the csv
UNKNOWN_SIGNER = "unknown"  # the signer of a sentence whose annotation file does not name one
NO_SIGNER = "signer not known"  # the name of such sentences as a group


@dataclass(frozen=True, slots=True)
class Sentence:
    """One row of a split's csv. `glosses` is the annotation, split at white space."""

    id: str
    signer: str
    frames: int
    glosses: tuple[str, ...]

    @property
    def signer_is_known(self) -> bool:
        """Whether `signer` names a person. Sentences with the same unknown signer can be of
        different people."""
        return self.signer not in ("", UNKNOWN_SIGNER)

    @property
    def signer_name(self) -> str:
        """The signer, or that the signer is not known, for people to read."""
        return self.signer if self.signer_is_known else NO_SIGNER


def check_field(field: str, value: str, where: str) -> None:
    """Raise DataError for a value that a csv row cannot hold.

    Such a value is empty or contains '|', a line break or another unusable character.

    Args:
        field: name of the csv column, for the message.
        value: the text to write.
        where: start of the message, e.g. "train sentence 's1'".
    """
    if not value:
        raise DataError(f"{where}: {field} {value!r} is empty")
    found = "'|'" if "|" in value else unusable_character(value)
    if found:
        raise DataError(
            f"{where}: {field} {value!r} has {found} in it, but '|', line breaks and other "
            "unprintable characters cannot be stored; remove it"
        )


def check_sentence(split: str, id: str, signer: str, annotation: str, where: str) -> None:
    """`check_field` for the texts of a sentence. Only a test split may have no annotations."""
    fields = {"id": id, "signer": signer, "annotation": annotation}
    if split == "test" and not annotation:
        del fields["annotation"]
    for field, value in fields.items():
        check_field(field, value, where)


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """Context in which many objects are made that live on.

    Python's garbage collector would look at all objects of the process again and again. It pauses.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@many_objects()
def read_sentences(path: Path) -> list[Sentence]:
    """The rows of a split's csv, with glosses in the Unicode form NFC.

    Ids stay as they are: files made from the corpus refer to them. Raises DataError that names the
    file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not lines or lines[0] != CSV_HEADER:
        raise DataError(
            f"{path} line 1: expected the header '{CSV_HEADER}', "
            f"found {lines[0] if lines else 'nothing'!r}"
        )
    # What is true of the whole file need not be looked at line by line
    printable, normal = "".join(lines).isprintable(), is_nfc("\n".join(lines))
    sentences, seen, intern = [], set(), sys.intern
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("|")
        if len(fields) != 4 or not _FRAMES.fullmatch(fields[2]):
            raise DataError(f"{path} line {number}: expected {CSV_HEADER} found {line!r}")
        id, signer, frames, annotation = fields
        unusable = None if printable else unusable_character(line)
        if unusable:  # escape sequences must not reach the terminal
            raise DataError(
                f"{path} line {number}: a tab or another unprintable character ({unusable}) in "
                f"{line!r}; remove it"
            )
        if id in seen:
            raise DataError(f"{path} line {number}: the id {id!r} is already in use")
        seen.add(id)
        # Glosses and signers repeat: each is in memory once
        glosses = (annotation if normal else nfc(annotation)).split()
        sentences.append(Sentence(id, intern(signer), int(frames), tuple(map(intern, glosses))))
    return sentences
