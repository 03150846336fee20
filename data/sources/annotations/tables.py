"""Tables of text as editors, spreadsheets and statistics programs save them.

encoding    UTF-8, with or without a byte order mark; UTF-16 with one ("Unicode text" of Excel).
separator   '|', tab, ';' or ',': the one that splits the header into the most known columns.
quotes      With ',' and ';', a field in double quotes may contain separators, line breaks and
            doubled quotes, as in every csv. With '|' and tab, quotes are read in the same way if
            each field that has any is quoted as a whole. Otherwise they are part of the text.
header      The first line. Upper and lower case are the same in it.

Blank rows and spaces around fields are ignored. Fields are in the Unicode form NFC.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from data.text_fields import nfc
from errors import DataError

_SEPARATORS = ("|", "\t", ";", ",")
_ALWAYS_QUOTED = (";", ",")
WORKBOOKS, ELAN = (".xlsx", ".xls", ".ods"), ".eaf"
SAVE_WORKBOOK = "save the table as 'CSV UTF-8'"
EXPORT_ELAN = (
    "export it in ELAN as tab-delimited text, with one row per sentence, and give the table a "
    "header line with id, video and annotation: see 'From ELAN' in docs/data.md"
)
_TIME = re.compile("[0-9]+(:[0-9]{2}){0,2}([.,][0-9]+)?")
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig"))


class Table:
    """A table that is read up to its header.

    header: names of the columns, in lower case. where: 'FILE line N' of the header, for messages.
    """

    def __init__(self, path: Path, known: Collection[str]):
        """Read a table.

        known: names of columns that matter: they show which separator is right, and no header may
        have one of them twice. Raises DataError when the file cannot be read as text, or the quotes
        of its header are not closed.
        """
        self.path, self._known = path, known
        text = _text(path)
        self._separator = _separator(text, known)
        self._records = _records(path, text, self._separator)
        number, fields = next(self._records, (1, [""]))
        self.where, self._shown = f"{path} line {number}", self._separator.join(fields)
        self.header = [field.casefold() for field in fields]
        while len(self.header) > 1 and not self.header[-1]:
            self.header.pop()  # spreadsheets write separators behind the last column

    def rows(self, columns: Sequence[str], example: str) -> Iterator[tuple[str, dict[str, str]]]:
        """The rows in file order, each with its place 'FILE line N'.

        columns: names that the header must have; values of the first must be unique. example: a
        header for messages. Raises DataError with file and line: for the header at once, for a row
        when it is taken.
        """
        for column in columns:
            if column not in self.header:
                if not self._shown:
                    raise DataError(
                        f"{self.path} is empty: expected a header like '{example}' and one row per "
                        "sentence"
                    )
                advice = "name the columns so, and remove lines above the header"
                if sum(bool(_TIME.fullmatch(one.strip())) for one in self._shown.split("\t")) > 1:
                    advice = f"if this is a file of ELAN, {EXPORT_ELAN}"
                raise DataError(
                    f"{self.where}: expected a header like '{example}', "
                    f"found {self._shown!r} (no {column!r} in it); {advice}"
                )
        for column in self.header:
            if column in self._known and self.header.count(column) > 1:
                raise DataError(
                    f"{self.where}: the header has {self.header.count(column)} columns "
                    f"{column!r}, expected one; rename or remove the others"
                )
        return self._rows(columns[0])

    def _rows(self, unique: str) -> Iterator[tuple[str, dict[str, str]]]:
        first_line: dict[str, int] = {}
        for number, fields in self._records:
            where = f"{self.path} line {number}"
            while len(fields) > len(self.header) and not fields[-1]:
                fields.pop()
            if len(fields) != len(self.header):
                raise DataError(
                    f"{where}: expected {len(self.header)} fields "
                    f"'{self._separator.join(self.header)}', "
                    f"found {len(fields)}: {self._separator.join(fields)!r}{self._advice()}"
                )
            row = dict(zip(self.header, fields, strict=True))
            id = row[unique]
            if id in first_line:
                raise DataError(
                    f"{where}: id {id!r} is already on line {first_line[id]}; ids must be unique"
                )
            first_line[id] = number
            yield where, row
        if not first_line:
            raise DataError(
                f"{self.path} has a header but no sentences under it: add one row per sentence"
            )

    def _advice(self) -> str:
        if self._separator not in _ALWAYS_QUOTED:
            return ""
        return f"; write a field that has {self._separator!r} in it in double quotes"


def _text(path: Path) -> str:
    """The content of a text file, without byte order marks."""
    if path.suffix in (".pkl", ".pickle"):
        raise DataError(
            f"{path} is a pickle and is not opened, because a pickle can run any program; "
            "save its content as a text table, such as csv"
        )
    if path.suffix.lower() == ELAN:
        raise DataError(f"{path} is a file of ELAN, which is not read: {EXPORT_ELAN}")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: expected a text file with one sentence per line; check the path"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if content.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{path} is an Excel workbook or another zip archive, expected a text file; "
            f"{SAVE_WORKBOOK}"
        )
    encoding = next(encoding for mark, encoding in _MARKS if content.startswith(mark))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise DataError(f"{path}: damaged UTF-16 text; save it as UTF-8") from None
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line}: not UTF-8 text, found the byte 0x{content[error.start]:02x}; "
            "convert it: in Excel save as 'CSV UTF-8', or use for example "
            "iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path} line {line}: not UTF-8 text, found a zero byte; save it as UTF-8")
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def _separator(text: str, known: Collection[str]) -> str:
    """The separator that finds the most `known` columns in the header; '|' if none finds any."""
    header = next((line for line in text.split("\n") if line.strip()), "").casefold()

    def found(separator: str) -> int:
        return sum(nfc(name.strip(' "')) in known for name in header.split(separator))

    return max(_SEPARATORS, key=found)


def _quotes_whole_fields(text: str, separator: str) -> bool:
    """Whether every quote character of the text belongs to a field that is quoted as a whole."""
    edge = re.escape(separator)
    field = rf'(?:^|(?<={edge})) *"(?:[^"\n]|"")*" *(?={edge}|$)'
    return '"' in text and '"' not in re.sub(field, "", text, flags=re.MULTILINE)


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each row that is not blank, with the line where the row begins."""
    whole = _quotes_whole_fields(text, separator)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if whole or separator in _ALWAYS_QUOTED else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=not whole,
    )
    line = 1
    try:
        for fields in reader:
            stripped = [nfc(field.strip()) for field in fields]
            if any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} line {line}: the quotes of the row that begins here cannot be read ({error}); "
            'write a field as "…", with each quote inside it doubled'
        ) from None
