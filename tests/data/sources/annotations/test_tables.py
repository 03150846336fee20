"""Tables as spreadsheets, statistics programs and editors save them."""

import csv
import io
import re
import unicodedata

import pytest

from data.sources.annotations.tables import Table
from data.sources.annotations.transcripts import read_frames, read_transcript
from errors import DataError

KNOWN = ("id", "signer", "annotation", "video")
ROWS = [
    ["id", "video", "signer", "annotation"],
    ["0001", "clips/0001.mp4", "Müller", "GRÜN HAUS"],
    ["0002", "", "Anna", "IX"],
]


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in Table(path, KNOWN).rows(("id", "signer", "annotation"), "x")]


def as_csv(rows, **options):
    buffer = io.StringIO()
    csv.writer(buffer, **options).writerows(rows)
    return buffer.getvalue()


EXPECTED = [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]


@pytest.mark.parametrize("separator", ["|", "\t", ";", ","])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_program_s_way_to_write_the_same_table(tmp_path, separator, quoting, encoding, end):
    text = as_csv(ROWS, delimiter=separator, quoting=quoting, lineterminator=end)
    assert rows_of(tmp_path / "t.csv", text.encode(encoding)) == EXPECTED


def test_the_header_s_case_blank_rows_and_spaces_do_not_matter(tmp_path):
    text = '\n ID ; Video;SIGNER ; Annotation;;\n\n;;;\n0001; "a;b" ;Eva ; "A ""B"""  ;;\n;;;;;\n'
    assert rows_of(tmp_path / "t.csv", text) == [
        {"id": "0001", "video": "a;b", "signer": "Eva", "annotation": 'A "B"'}
    ]


def test_a_quoted_field_has_separators_line_breaks_and_doubled_quotes(tmp_path):
    text = 'id,signer,annotation,note\ns1,A,"HELLO\nWORLD","a, ""b"""\ns2,A,X\n'
    with pytest.raises(DataError, match=r"line 4: expected 4 fields .*found 3: 's2,A,X'"):
        rows_of(tmp_path / "t.csv", text)
    (row,) = rows_of(tmp_path / "t.csv", text[: text.index("s2")])
    assert (row["annotation"].split(), row["note"]) == (["HELLO", "WORLD"], 'a, "b"')


@pytest.mark.parametrize("separator", ["|", "\t"])
def test_without_csv_quotes_are_text_unless_they_enclose_whole_fields(tmp_path, separator):
    """RWTH-PHOENIX-Weather's own files have no quoting; R quotes every text of a table."""

    def annotations(*fields, header="id|signer|annotation"):
        lines = [header, *(f"s{number}|A|{field}" for number, field in enumerate(fields))]
        text = "\n".join(lines).replace("|", separator)
        return [row["annotation"] for row in rows_of(tmp_path / "t.csv", text)]

    assert annotations('5"WHAT" IX', "X") == ['5"WHAT" IX', "X"]
    assert annotations('"MAX" IX "EVA"', '"X"') == ['"MAX" IX "EVA"', '"X"']
    assert annotations('"open', 'close"') == ['"open', 'close"']
    assert annotations('"HELLO WORLD"', "X") == ["HELLO WORLD", "X"]
    assert annotations('"A ""B"""', '"X"', header='"id"|"signer"|"annotation"') == ['A "B"', "X"]


def test_numbers_with_leading_zeros_stay_different_ids(tmp_path):
    text = "id,signer,annotation\n01,A,X\n1,A,Y\n001,A,Z\n"
    assert [row["id"] for row in rows_of(tmp_path / "t.csv", text)] == ["01", "1", "001"]


def test_fields_are_in_one_unicode_form(tmp_path):
    text = unicodedata.normalize("NFD", "id|signer|annotation\nübung|Zoë|GRÜN\n")
    (row,) = rows_of(tmp_path / "t.csv", text)
    assert row == {"id": "übung", "signer": "Zoë", "annotation": "GRÜN"}
    assert all(unicodedata.is_normalized("NFC", value) for value in row.values())
    with pytest.raises(DataError, match="line 3: id 'ü' is already on line 2"):
        rows_of(tmp_path / "t.csv", "id|signer|annotation\nü|A|X\nu\u0308|A|Y\n")
    # NFC makes ';' of the Greek question mark, which is no separator
    assert rows_of(tmp_path / "t.csv", "id;signer;annotation\na;A;X\u037e\n")[0]["id"] == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id|annotation|signer|Annotation\na|X|b|Y\n",
            "line 1: the header has 2 columns 'annotation', expected one",
        ),
        (
            "id|video|video|signer|annotation\na|X|X|b|Y\n",
            "line 1: the header has 2 columns 'video', expected one",
        ),
        ("id signer annotation\n", "line 1: expected a header like 'x', found 'id signer"),
        (
            "id,signer,annotation\ns1,A,HELLO, WORLD\n",
            "line 2: expected 3 fields 'id,signer,annotation', found 4: 's1,A,HELLO,WORLD'; write "
            "a field that has ',' in it in double quotes",
        ),
        ('id,signer,annotation\ns1,A,X\ns2,A,"HELLO\ns3,A,X\n', "line 3: the quotes of the row"),
        ('id,signer,annotation\ns1,A,"MAX" IX\n', "line 2: the quotes of the row"),
        ("id,signer,annotation\ns1,Müller,X\n".encode("cp1252"), "line 2: not UTF-8 text, found"),
        ("id,signer,annotation\n".encode("utf-16-le"), "line 1: not UTF-8 text, found a zero byte"),
        (b"\xff\xfeabc", "damaged UTF-16 text"),
        (b"PK\x03\x04\x14\x00", "is an Excel workbook or another zip archive"),
        ("id,signer,annotation\ns1,A," + "X" * 200_000, "line 2: the quotes of the row"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        rows_of(tmp_path / "t.csv", content)
    assert str(tmp_path / "t.csv") in str(caught.value)


def test_the_first_problem_of_the_file_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id|signer|annotation\na|A|X\nb||X\na|A|X\n")
    with pytest.raises(DataError, match="line 3: the signer is empty"):
        read_transcript(path)


def test_frames_files_are_read_in_the_same_way(tmp_path):
    path = tmp_path / "frames.csv"
    path.write_bytes('\ufeff"ID";"Frames"\r\n"s1";"12"\r\n'.encode())
    assert read_frames(path) == {"s1": 12}
