"""Read pickles of numpy arrays and plain containers, without unpickling them.

A pickle is a program: Python's `pickle` imports and calls whatever the file names. This reader does
neither. It follows the instructions of the file by itself, and it knows only those that build None,
booleans, numbers, texts, bytes, lists, tuples, dicts and numpy arrays. It refuses everything else
by name. https://docs.python.org/3/library/pickletools.html has the instructions.

The file is memory-mapped. An array stays in the file until `PickledArray.read` copies it, so a file
of many gigabytes needs little memory. Protocols 2 to 5 are read, the text protocols 0 and 1 not.
"""

import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.sources.corpora.pickled_array import PickledArray
from errors import DataError

MAX_INSTRUCTIONS = 5_000_000  # of one file, about 40 for each sentence; less than 1 GB of memory
MAX_DIMENSIONS = 8
MAX_SIZE = 2**40  # of one dimension; more is damage, also of an array without values
MAX_LONG_BYTES = 16  # of one whole number
# What a file may name, and what this reader makes for it. Nothing is imported.
_NAMES = {
    ("numpy", "ndarray"): "type",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "text as bytes",
    ("__builtin__", "bytes"): "empty bytes",
    **{
        (f"numpy.{core}.{module}", name): stands_for
        for core in ("core", "_core")
        for module, name, stands_for in (
            ("multiarray", "_reconstruct", "array"),
            ("multiarray", "scalar", "scalar"),
            ("numeric", "_frombuffer", "array of bytes"),
        )
    },
}
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")
_KINDS = "fiub"  # of dtypes: floats, whole numbers, booleans
_MARK = object()


@dataclass(frozen=True)
class _Name:
    stands_for: str  # a value of _NAMES


@dataclass(eq=False)
class _Dtype:
    """A dtype under construction; `order` is set by a second instruction."""

    code: str
    order: str = "="

    def resolve(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


def read_pickle(path: Path) -> Any:
    """The value of a pickle file: plain Python values, and a `PickledArray` for each array.

    Raises DataError with the file's name: when the file cannot be read, is damaged, or asks for
    anything else than arrays and plain values.
    """
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise DataError(f"{path} is empty, expected a pickle")
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return _Machine(path, content).run()


class _Machine:
    """Follows the instructions of one file."""

    def __init__(self, path: Path, content: memoryview):
        self._path, self._content = path, content
        self._place = self._encoded_bytes = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        if self._content[:1] != b"\x80":
            packed = any(bytes(self._content[: len(one)]) == one for one in _ARCHIVES)
            raise self._error(
                "is an archive: unpack it, and give the pickle that is in it"
                if packed
                else "is not a pickle of protocol 2 to 5: save it again with "
                "pickle.dump(…, protocol=4)"
            )
        for _ in range(MAX_INSTRUCTIONS):
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise self._error(
                    f"has the instruction 0x{code:02x} at byte {self._place - 1}, expected those "
                    "of arrays, lists, tuples, dicts, texts and numbers: save the arrays again "
                    "with pickle.dump(…, protocol=4), or as .npy files"
                )
            step(self)
        raise self._error(
            f"has more than {MAX_INSTRUCTIONS:,} instructions, expected one array for each "
            "sentence: save the landmarks as arrays"
        )

    def _error(self, text: str) -> DataError:
        return DataError(f"{self._path} {text}")

    def _damaged(self, what: str) -> DataError:
        return self._error(f"is damaged at byte {self._place}: {what}; copy or download it again")

    def _take(self, count: int) -> memoryview:
        stop = self._place + count
        if stop > len(self._content):
            raise self._error(
                f"ends in the middle: {len(self._content):,} bytes, expected at least {stop:,}; "
                "copy or download it again"
            )
        taken = self._content[self._place : stop]
        self._place = stop
        return taken

    def _number(self, format: str) -> Any:
        return struct.unpack(f"<{format}", self._take(struct.calcsize(format)))[0]

    def _line(self) -> str:
        piece = bytes(self._content[self._place : self._place + 500])
        end = piece.find(b"\n")
        if end < 0:
            raise self._damaged("a name without an end")
        self._place += end + 1
        return piece[:end].decode("utf-8", "replace")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._damaged("a value is missing")
        return self._stack.pop()

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise self._damaged("a container is missing")
        return self._stack[-1]

    def _pop_marked(self) -> list[Any]:
        """The values above the last mark; the mark is removed, too."""
        for start in range(len(self._stack) - 1, -1, -1):
            if self._stack[start] is _MARK:
                values = self._stack[start + 1 :]
                del self._stack[start:]
                return values
        raise self._damaged("a mark is missing")

    def text(self, format: str) -> None:
        piece = bytes(self._take(self._number(format)))
        try:
            self._push(piece.decode("utf-8"))
        except UnicodeDecodeError:
            raise self._damaged("a text that is not UTF-8") from None

    def raw(self, format: str) -> None:
        self._push(self._take(self._number(format)))

    def long(self, format: str) -> None:
        size = self._number(format)
        if not 0 <= size <= MAX_LONG_BYTES:
            raise self._damaged(f"a whole number of {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def put(self, index: int) -> None:
        if not self._stack:
            raise self._damaged("a value is missing")
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise self._damaged(f"the remembered value {index} is missing")
        self._push(self._memo[index])

    def take_tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def marked_tuple(self) -> None:
        self._push(tuple(self._pop_marked()))

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def extend(self) -> None:
        values = self._pop_marked()
        self._top(list).extend(values)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set(self._top(dict), key, value)

    def set_items(self) -> None:
        values = self._pop_marked()
        if len(values) % 2:
            raise self._damaged("a key without a value")
        items = self._top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._set(items, key, value)

    def _set(self, items: dict[Any, Any], key: Any, value: Any) -> None:
        # Other keys need not be hashable, or are expensive to hash
        if not isinstance(key, (str, int)):
            raise self._error("has a dict whose keys are no texts or whole numbers, expected ids")
        items[key] = value

    def name(self) -> None:
        module = self._line()
        self._push_name(module, self._line())

    def stack_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise self._damaged("a name that is not text")
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        if (module, name) not in _NAMES:
            shown = ascii(f"{module[:60]}.{name[:60]}").strip("'\"")
            raise self._error(
                f"asks for {shown}. Only arrays, lists, tuples, plain dicts, texts and numbers are "
                "read, because a pickle can run any program. If you trust the file, open it where "
                "it was made, and save a plain dict from texts to arrays with "
                "pickle.dump(…, protocol=4)"
            )
        self._push(_Name(_NAMES[module, name]))

    def call(self) -> None:
        """Make what a name and its arguments stand for."""
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise self._damaged("a call without a name or arguments")
        makers: dict[str, Callable[..., Any]] = {
            "array": lambda *_: PickledArray(),  # an instruction BUILD gives its content
            "dtype": self._dtype,
            "array of bytes": self._from_buffer,
            "scalar": self._scalar,
            "text as bytes": self._encoded,
            "empty bytes": lambda: b"",
        }
        try:
            self._push(makers[name.stands_for](*arguments))
        except (KeyError, TypeError, ValueError):
            raise self._damaged(f"wrong arguments of a {name.stands_for}") from None

    def build(self) -> None:
        """Finish an array or a dtype with its state."""
        state = self._pop()
        target = self._top((PickledArray, _Dtype))
        if isinstance(target, _Dtype):
            if (
                not isinstance(state, tuple)
                or len(state) < 2
                or state[1] not in ("<", ">", "|", "=")
            ):
                raise self._damaged("a dtype with a wrong state")
            target.order = state[1]
            return
        if not isinstance(state, tuple) or len(state) != 5:
            raise self._damaged("an array with a wrong state")
        _, shape, dtype, fortran, content = state
        self._fill(target, shape, dtype, "F" if fortran else "C", content)

    def _dtype(self, code: Any, *_: Any) -> _Dtype:
        if not isinstance(code, str) or len(code) > 20:
            raise TypeError
        try:
            kind = np.dtype(code.lstrip("<>=|"))
        except Exception:  # numpy raises TypeError, SyntaxError and more
            raise TypeError from None
        if kind.kind not in _KINDS or kind.fields is not None or kind.subdtype is not None:
            raise self._error(
                f"has an array of the dtype {code!a}, expected floats or whole numbers: save "
                "the landmarks of each sentence as an array of float32"
            )
        return _Dtype(code.lstrip("<>=|"), code[0] if code[0] in "<>" else "=")

    def _from_buffer(
        self, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
    ) -> PickledArray:
        array = PickledArray()
        self._fill(array, shape, dtype, "F" if order == "F" else "C", content)
        if order == "K":  # neither C nor F: the axes are in another order
            # Only whole numbers: other values can take forever to compare
            numbers = isinstance(axes, tuple) and all(type(axis) is int for axis in axes)
            if not numbers or sorted(axes) != list(range(len(shape))):
                raise TypeError
            array.axes = axes
        return array

    def _scalar(self, dtype: Any, content: Any) -> Any:
        array = PickledArray()
        self._fill(array, (), dtype, "C", content)
        return array.read().item()

    def _encoded(self, text: Any, encoding: Any) -> bytes:
        """Bytes as protocol 2 writes them: as text in latin1."""
        if not isinstance(text, str) or encoding != "latin1":
            raise TypeError
        self._encoded_bytes += len(text)
        if self._encoded_bytes > len(self._content):  # one text can be used many times
            raise self._damaged("more bytes than the file has")
        return text.encode("latin1")

    def _fill(
        self, array: PickledArray, shape: Any, dtype: Any, order: Literal["C", "F"], content: Any
    ) -> None:
        if (
            not isinstance(shape, tuple)
            or len(shape) > MAX_DIMENSIONS
            or not all(isinstance(size, int) and 0 <= size <= MAX_SIZE for size in shape)
            or not isinstance(dtype, _Dtype)
        ):
            raise self._damaged("an array with a wrong shape or dtype")
        if not isinstance(content, (memoryview, bytes)):
            raise self._damaged("an array whose content is no bytes")
        array.dtype, array.stored, array.order = dtype.resolve(), shape, order
        expected = math.prod(shape) * array.dtype.itemsize
        if len(content) != expected:
            raise self._damaged(
                f"an array of the shape {shape} has {len(content)} bytes, expected {expected}"
            )
        array.content = content


# The instructions, by their byte
_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m._take(1),  # PROTO
    0x95: lambda m: m._take(8),  # FRAME: only says how much to read at once
    0x28: lambda m: m._push(_MARK),
    0x4E: lambda m: m._push(None),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    0x4A: lambda m: m._push(m._number("i")),  # BININT
    0x4B: lambda m: m._push(m._number("B")),  # BININT1
    0x4D: lambda m: m._push(m._number("H")),  # BININT2
    0x8A: lambda m: m.long("B"),  # LONG1
    0x8B: lambda m: m.long("i"),  # LONG4
    0x47: lambda m: m._push(struct.unpack(">d", m._take(8))[0]),  # BINFLOAT
    0x8C: lambda m: m.text("B"),  # SHORT_BINUNICODE
    0x58: lambda m: m.text("I"),  # BINUNICODE
    0x8D: lambda m: m.text("Q"),  # BINUNICODE8
    0x43: lambda m: m.raw("B"),  # SHORT_BINBYTES
    0x42: lambda m: m.raw("I"),  # BINBYTES
    0x8E: lambda m: m.raw("Q"),  # BINBYTES8
    0x96: lambda m: m.raw("Q"),  # BYTEARRAY8
    0x5D: lambda m: m._push([]),  # EMPTY_LIST
    0x61: lambda m: m.append(),  # APPEND
    0x65: lambda m: m.extend(),  # APPENDS
    0x29: lambda m: m._push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.take_tuple(1),  # TUPLE1
    0x86: lambda m: m.take_tuple(2),  # TUPLE2
    0x87: lambda m: m.take_tuple(3),  # TUPLE3
    0x74: lambda m: m.marked_tuple(),  # TUPLE
    0x7D: lambda m: m._push({}),  # EMPTY_DICT
    0x73: lambda m: m.set_item(),  # SETITEM
    0x75: lambda m: m.set_items(),  # SETITEMS
    0x63: lambda m: m.name(),  # GLOBAL
    0x93: lambda m: m.stack_name(),  # STACK_GLOBAL
    0x52: lambda m: m.call(),  # REDUCE
    0x62: lambda m: m.build(),  # BUILD
    0x71: lambda m: m.put(m._number("B")),  # BINPUT
    0x72: lambda m: m.put(m._number("I")),  # LONG_BINPUT
    0x94: lambda m: m.put(len(m._memo)),  # MEMOIZE
    0x68: lambda m: m.get(m._number("B")),  # BINGET
    0x6A: lambda m: m.get(m._number("I")),  # LONG_BINGET
}
