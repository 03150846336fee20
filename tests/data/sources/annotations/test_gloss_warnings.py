import pytest

from data.sources.annotations.gloss_warnings import gloss_warnings
from data.sources.annotations.transcripts import read_splits


def warnings_of(sentences):
    return gloss_warnings((f"train sentence {n}", glosses) for n, glosses in enumerate(sentences))


def test_ordinary_glosses_give_no_warning():
    persian = "می\u200cخواهم"  # the joiner is a part of the spelling
    assert warnings_of([("A+B", "IX-1p", "__ON__", '5"WHAT"', ","), (persian, "میخواهم")]) == []
    hindi, family, heart, key = "क्\u200dष", "👩\u200d👧", "❤\ufe0f", "1\ufe0f\u20e3"
    assert warnings_of([(hindi, "कार्\u200cय", family, heart, key, f"{persian}-2")]) == []


def test_separators_inside_of_glosses():
    (warning,) = warnings_of([("HELLO,", "WORLD"), ("A;B",)])
    assert warning == (
        "2 glosses have a comma or semicolon in the gloss itself, such as 'A;B'; "
        "if it should separate glosses, write spaces instead"
    )


@pytest.mark.parametrize("mark", ["\u200f", "\u200b", "\u00ad", "\u2060"])
def test_an_invisible_character_is_named_with_or_without_a_twin(mark):
    name = f"U+{ord(mark):04X}"
    assert warnings_of([("HELLO",), (f"A{mark}B", "HELLO")]) == [
        f"1 gloss has invisible characters, such as {name} in 'AB' of train sentence 1; remove "
        "them unless they belong to the spelling"
    ]
    assert warnings_of([(f"A{mark}", "سوال"), ("سوال" + mark,)]) == [
        f"2 glosses have invisible characters, such as {name} in 'سوال' of train sentence 1 "
        f"(several spellings look the same, with none, {name}; each is a gloss of its own); remove "
        "them unless they belong to the spelling"
    ]


@pytest.mark.parametrize("mark", ["\ufe0f", "\u200c", "\u200d", "\U000e0100"])
def test_joiners_and_selectors_do_not_belong_to_latin_letters(mark):
    name = f"U+{ord(mark):04X}"
    for gloss, look in ((f"A{mark}B", "AB"), (f"Ä{mark}", "Ä"), (f"{mark}Б2{mark}{mark}", "Б2")):
        (warning,) = warnings_of([("HELLO",), (gloss, "HELLO")])
        assert warning.startswith(f"1 gloss has invisible characters, such as {name}")
        assert f" in {look!r} of train sentence 1;" in warning
    (warning,) = warnings_of([("AB",), (f"A{mark}B",)])
    assert f"several spellings look the same, with none, {name}; each is a gloss of" in warning


def test_a_read_names_the_table(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text('id,signer,annotation\ns1,A,"HELLO, WORLD"\n')
    assert read_splits(path)["train"][0].glosses == ("HELLO,", "WORLD")
    assert capsys.readouterr().err.startswith(f"warning: {path}: 1 gloss has a comma or semicolon")
    path.write_text("id,signer,annotation\ns1,Anna,HELLO\ns2,anna,HELLO\n")
    read_splits(path)
    warning = f"warning: {path}: the signers 'Anna' and 'anna' differ only in upper and lower case"
    assert capsys.readouterr().err.startswith(warning)


def test_glosses_in_other_forms_of_the_same_letters():
    plain, stretched, final = "سوال", "سـوال", "سوا\ufedd"  # the last letter as a form of its own
    with_vowel = "سُوال"
    for other in (stretched, final, with_vowel):
        (warning,) = warnings_of([(plain, "هو"), (other,)])
        assert "1 gloss has spellings in other forms of the same letters, such as" in warning
        assert " ".join(f"U+{ord(letter):04X}" for letter in other) in warning
    assert warnings_of([(plain, "ـ", "هو")]) == []


def test_glosses_that_differ_in_upper_and_lower_case():
    (warning,) = warnings_of([("HELLO", "hello", "Straße"), ("STRASSE", "WORLD")])
    assert (
        "2 glosses have spellings in upper and lower case, such as 'HELLO' and 'hello'" in warning
    )
