import pytest

from data.text_fields import is_nfc, nfc, unusable_character


def test_one_form_for_letters_that_look_the_same():
    assert nfc("GRU\u0308N") == nfc("GR\u00dcN") == "GR\u00dcN"
    assert nfc("\u1112\u1161\u11ab") == "\ud55c"  # Korean, as macOS writes file names
    assert is_nfc("GR\u00dcN") and not is_nfc("GRU\u0308N")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian
        "سوال\u200f",  # Arabic, with a direction mark
        "क्\u200dष",  # Hindi
        "\ue000\ue0f1",  # HamNoSys
        "\U0001d800",  # SignWriting
        "\U00040001",  # formal SignWriting: a character that Unicode has not assigned
        "HELLO WORLD",
    ],
)
def test_format_characters_of_a_script_are_usable(text):
    assert unusable_character(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\tb", "U+0009"),
        ("a\x1b[31m", "U+001B"),
        ("a\u2028b", "U+2028 LINE SEPARATOR"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("a\ud800b", "U+D800"),
    ],
)
def test_characters_that_break_lines_or_terminals_are_named(text, name):
    assert unusable_character(text) == name
