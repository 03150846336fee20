"""Texts of a corpus: ids, signers and glosses in one Unicode form, without unusable characters.

Ü can be one character or two (U and a combining mark), and both look the same. macOS writes file
names with two. All texts are compared in the form NFC, which has one character.
"""

import unicodedata

# Control characters, halves of a pair, and separators of lines and paragraphs
_UNUSABLE = ("Cc", "Cs", "Zl", "Zp")
# They change the order in which the text around them is shown: embeddings, overrides and isolates
_REORDERING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def nfc(text: str) -> str:
    """The text in the Unicode form NFC."""
    return unicodedata.normalize("NFC", text)


def is_nfc(text: str) -> bool:
    """Whether the text has the Unicode form NFC already."""
    return unicodedata.is_normalized("NFC", text)


def unusable_character(text: str) -> str | None:
    """The first character that a corpus cannot store, such as 'U+0009', or None.

    Format characters that belong to the spelling are usable: U+200C and U+200D between letters,
    the direction marks U+200E, U+200F and U+061C. So are private characters (HamNoSys). Of white
    space, only the plain space is usable.
    """
    if text.isprintable():  # most texts; the loop is slow
        return None
    for one in text:
        kind = unicodedata.category(one)
        if kind in _UNUSABLE or one in _REORDERING or (kind == "Zs" and one != " "):
            name = unicodedata.name(one, "")
            return f"U+{ord(one):04X}{' ' + name if name else ''}"
    return None
