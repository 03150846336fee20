"""How good files are broken: random changes of bytes, words and values, drawn by Hypothesis."""

from typing import Any

import torch
from hypothesis import strategies as st

NUMBERS = [0, 1, -1, 127, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 10**9]
KINDS = ("bit", "byte", "cut", "end", "repeat", "number", "word", "digits")

# Words of each format that are inserted in random places.
WORDS = {
    "corpus": [
        *("-1", "0", "1e999", "NaN", "null", "[]", "{}", "9" * 5000, '"../x"'),
        *("|", "\n", "\x1b[2J", "\u2028", "[" * 3000),
    ],
    "npy": [
        *("'|O'", "'<f8'", "'<U999999999'", "(999999999, 543, 3)", "(-1,)", "True"),
        *("fortran_order", "(" * 500, "9" * 5000),
    ],
    "npz": ["PK\x03\x04", "PK\x01\x02", "PK\x05\x06", "'|O'", "../", "(999999999,)"],
    "pose": ["POSE_LANDMARKS", "\x00", "\xff\xff", "XYZC"],
    "pickle": ["cos\nsystem\n", "\x93", "R", "b", "]", "(", "h\x00", "r\xff\xff\xff\xff", "O8"],
    "parquet": ["PAR1", "frame", "type", "\x00"],
    "csv": [
        *("|", "||", "\n", "\r", "\x00", "\ufeff", "..", "../../etc/passwd", "/", ",", "id|"),
        *("__ON__", "9" * 5000, "\u2028"),
    ],
    "yaml": [
        *("&a [*a]", "*a", "!!python/object/apply:os.system [id]", "2001-99-99", "9" * 5000),
        *("0x" + "f" * 5000, "{", ".inf", ".nan", "1:1:1:1", "!!binary x", "<<: *b", "? [1]"),
        *("\t", "training:", "epochs:", "-" + "9" * 30, "[" * 2000),
    ],
    "checkpoint": [
        *("PK\x03\x04", "cos\nsystem\n", "cbuiltins\nbytearray\n", "\x80\x02", "R."),
        "ctorch\nFloatStorage\n",
    ],
    "language_model": [
        *("\\data\\", "ngram 1=", "999999999", "-99", "nan", "inf", "\\end\\", "\t", "\n"),
    ],
}


def mutated(data: st.DataObject, content: bytes, words: list[str]) -> bytes:
    """The content after one to six random changes. words: inserted by the change 'word'."""
    place = st.integers(0, max(len(content) - 1, 0)) | st.integers(0, min(len(content), 256) or 1)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(place)
        kind = data.draw(st.sampled_from(KINDS))
        content = _changed(data, kind, content, at, words)
    return content


def _changed(data: st.DataObject, kind: str, content: bytes, at: int, words: list[str]) -> bytes:
    """The content after one change of this kind at byte `at`."""
    head, tail = content[:at], content[at:]
    if kind == "bit":
        if tail:
            return head + bytes([tail[0] ^ 1 << data.draw(st.integers(0, 7))]) + tail[1:]
        kind = "word"
    if kind == "byte":
        return head + bytes([data.draw(st.integers(0, 255))]) + tail[1:]
    if kind == "cut":
        return head + tail[data.draw(st.integers(1, 64)) :]
    if kind == "end":
        return head if data.draw(st.booleans()) else content[: -data.draw(st.integers(1, 64))]
    if kind == "repeat":
        length = data.draw(st.integers(1, 64))
        times = data.draw(st.sampled_from((2, 3, 100, 2000)))
        return head + tail[:length] * times + tail[length:]
    if kind == "number":
        width = data.draw(st.sampled_from((2, 4, 8)))
        number = data.draw(st.sampled_from(NUMBERS)) % 2 ** (8 * width)
        order = data.draw(st.sampled_from(("little", "big")))
        return head + number.to_bytes(width, order) + tail[width:]
    if kind == "digits":
        places = range(at, min(at + 200, len(content)))
        digits = [place for place in places if content[place : place + 1].isdigit()]
        if not digits:
            return content
        number = str(data.draw(st.sampled_from(NUMBERS))).encode()
        end = digits[0] + data.draw(st.integers(0, 3))
        return content[: digits[0]] + number + content[end:]
    text = data.draw(st.sampled_from(words))
    encoding = "utf-8" if not text.isascii() and "\xff" not in text else "latin-1"
    word = text.encode(encoding, "replace")
    return head + word + tail[data.draw(st.sampled_from((0, len(word)))) :]


def with_odd_values(data: st.DataObject, content: dict[str, Any]) -> Any:
    """The content with one to three of its values, at any depth, replaced or left out."""
    values = odd_values()

    def replaced(value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            keys = list(value)
        else:
            keys = list(range(len(value))) if isinstance(value, list) else []
        if not keys or data.draw(st.integers(0, 5)) < depth - 1:
            return data.draw(st.sampled_from(values))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.integers(0, 9)) == 0:  # leave the value out
            if isinstance(value, dict):
                return {name: item for name, item in value.items() if name != key}
            return value[:key] + value[key + 1 :]
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = replaced(value[key], depth + 1)
        return copy

    for _ in range(data.draw(st.integers(1, 3))):
        content = replaced(content, 0) if isinstance(content, dict) else content
    return content


def odd_values() -> list[Any]:
    """Values that a reader of checkpoints does not expect."""
    nested: list[Any] = [1]
    for _ in range(40):
        nested = [nested, nested]
    return [
        *(None, -1, 10**12, 10**30, 1e308, float("nan"), "", "x" * 1000, "\x1b[2J"),
        *([], {}, [1, 2], {"a": 1}, {5: 5}, True, 0, (1,), nested),
        *(torch.zeros(3), torch.full((2, 2), float("nan")), torch.zeros(1).expand(10**12)),
        torch.zeros(2).long(),
    ]
