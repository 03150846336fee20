import pytest

from data.sources.annotations.gloss_warnings import gloss_warnings
from data.sources.annotations.transcripts import read_splits


def test_ordinary_glosses_give_no_warning():
    persian = "می\u200cخواهم"  # the joiner is a part of the spelling
    assert gloss_warnings([("A+B", "IX-1p", "__ON__", '5"WHAT"', ","), (persian, "میخواهم")]) == []


def test_separators_inside_of_glosses():
    (warning,) = gloss_warnings([("HELLO,", "WORLD"), ("A;B",)])
    assert warning == (
        "2 glosses have a comma or semicolon in the gloss itself, such as 'A;B'; "
        "if it should separate glosses, write spaces instead"
    )


@pytest.mark.parametrize("mark", ["\u200f", "\u200b", "\u00ad"])
def test_glosses_that_only_differ_in_invisible_characters(mark):
    (warning,) = gloss_warnings([("سوال", "سوال" + mark)])
    assert "1 gloss has several spellings that look the same, such as 'سوال'" in warning
    assert (
        f"the invisible characters none, U+{ord(mark):04X}; each is a gloss of its own" in warning
    )


def test_a_read_names_the_table(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text('id,signer,annotation\ns1,A,"HELLO, WORLD"\n')
    assert read_splits(path)["train"][0].glosses == ("HELLO,", "WORLD")
    assert capsys.readouterr().err.startswith(f"warning: {path}: 1 gloss has a comma or semicolon")


def test_glosses_in_other_forms_of_the_same_letters():
    plain, stretched, final = "سوال", "سـوال", "سوا\ufedd"  # the last letter as a form of its own
    with_vowel = "سُوال"
    for other in (stretched, final, with_vowel):
        (warning,) = gloss_warnings([(plain, "هو"), (other,)])
        assert "1 gloss has spellings in other forms of the same letters, such as" in warning
        assert " ".join(f"U+{ord(letter):04X}" for letter in other) in warning
    assert gloss_warnings([(plain, "ـ", "هو")]) == []


def test_glosses_that_differ_in_upper_and_lower_case():
    (warning,) = gloss_warnings([("HELLO", "hello", "Straße"), ("STRASSE", "WORLD")])
    assert (
        "2 glosses have spellings in upper and lower case, such as 'HELLO' and 'hello'" in warning
    )
