"""Pickles: arrays and plain values are read, everything else is refused, and nothing is run."""

import builtins
import collections
import datetime
import gzip
import pickle
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest

from data.sources.corpora import safe_pickle
from data.sources.corpora.safe_pickle import PickledArray, read_pickle
from errors import DataError

MAX_BYTES = 20 << 20  # memory that a refusal may need
PROTO = b"\x80\x04"


def read_bytes(tmp_path, content: bytes):
    path = tmp_path / "some.pkl"
    path.write_bytes(content)
    return read_pickle(path)


class Calls:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).random((7, 86, 2)),
        np.random.default_rng(1).random((300, 86, 2)).astype(np.float32),  # outside of a frame
        np.asfortranarray(np.random.default_rng(2).random((3, 5, 2))),
        np.random.default_rng(3).random((4, 6)).astype(">f4"),
        np.random.default_rng(4).random((9, 86, 4))[:, :, ::2],
        np.random.default_rng(5).random((86, 3, 2)).transpose(1, 0, 2),
        np.arange(12, dtype=np.int16).reshape(3, 4),
        np.zeros((0, 86, 2)),
        np.array([True, False]),
        np.array(1.5),
    ],
    ids=[
        "float64",
        "float32",
        "fortran",
        "big endian",
        "view",
        "axes",
        "int",
        "empty",
        "bool",
        "scalar",
    ],
)
def test_arrays_are_read_as_pickle_reads_them(tmp_path, protocol, array):
    content = pickle.dumps({"a": {"keypoints": array}, 7: array, "again": [array]}, protocol)
    found = read_bytes(tmp_path, content)
    assert found["again"][0] is found[7], "the file has the array once"
    for one in (found["a"]["keypoints"], found[7]):
        values = one.read()
        assert isinstance(one, PickledArray) and one.shape == array.shape
        np.testing.assert_array_equal(values, array)
        assert values.dtype == array.dtype.newbyteorder("=") and values.flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_read_as_pickle_reads_them(tmp_path, protocol):
    value = {
        "نص": ["سوال", None, True, False, 0, -1, 255, 70_000, -(2**40), 2**100, 1.25, -0.0],
        3: ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}),
        "long": "x" * 70_000,
        "numpy": [np.float32(1.5), np.int64(-3)],
        "same": [["shared"]] * 3,
    }
    assert read_bytes(tmp_path, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Calls(subprocess.getoutput, "touch hacked"), "subprocess.getoutput"),
        (Calls(builtins.eval, "open('hacked', 'w')"), "builtins.eval"),
        (Calls(builtins.getattr, "x", "join"), "builtins.getattr"),
        (Calls(builtins.__import__, "os"), "builtins.__import__"),
        (Calls(np.load, "hacked.npy"), "numpy.load"),
        (Calls(np.ndarray.__new__, np.ndarray, (2,)), "builtins.getattr"),
        (datetime.date(2026, 1, 1), "datetime.date"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (np.random.default_rng(0), "numpy.random"),
        (np.array([object, 1], dtype=object), "dtype 'O8'"),
        (np.array(["a"]), "dtype 'U1'"),
        (np.zeros(2, dtype=[("a", "f4")]), "dtype 'V4'"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "dtype 'M8'"),
        ({1, 2}, "instruction 0x8f"),
        (frozenset([1]), "instruction 0x91"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_else_is_read_and_nothing_runs(tmp_path, monkeypatch, value, named, inside):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"00_0001": {"keypoints": value}} if inside else value, protocol=4)
    with pytest.raises(DataError) as caught:
        read_bytes(tmp_path, content)
    assert named in str(caught.value) and "some.pkl" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["some.pkl"]


def stack_global(module: str, name: str) -> bytes:
    return (
        b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"
    )


@pytest.mark.parametrize(
    "content",
    [
        # names with dots, which pickle follows as attributes
        PROTO + stack_global("numpy", "ndarray.__class__.__base__") + b".",
        PROTO + stack_global("os", "system") + b"\x8c\x04true\x85R.",
        b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.",
        # the old instructions that make objects
        b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.",
        PROTO + stack_global("numpy", "ndarray") + b")\x81.",
        # persistent ids, extension codes, buffers from elsewhere
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        b"\x80\x02\x82\x01.",
        b"\x80\x05\x97.",
        # a name is no value that could be called with arguments of one's own
        PROTO + stack_global("numpy", "ndarray") + b"K\x01\x85R.",
        PROTO + stack_global("_codecs", "encode") + b"\x8c\x01a\x8c\x06rot_13\x86R.",
        b"\x80\x04}\x8c\x01aK\x01sb.",  # BUILD of something that is no array
    ],
)
def test_hand_made_instructions_are_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"some\.pkl"):
        read_bytes(tmp_path, content)


def array_bytes(shape: str, content: bytes = b"C\x04abcd", dtype: str = "f4") -> bytes:
    """An array with the given state; shape: instructions that make a tuple."""
    return (
        PROTO
        + stack_global("numpy.core.multiarray", "_reconstruct")
        + stack_global("numpy", "ndarray")
        + b"K\x00\x85C\x01b\x87R"
        + b"(K\x01"
        + shape.encode("latin1")
        + stack_global("numpy", "dtype")
        + b"\x8c"
        + bytes([len(dtype)])
        + dtype.encode()
        + b"\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89"
        + content
        + b"tb."
    )


def test_the_hand_made_array_is_right_before_it_is_broken(tmp_path):
    assert read_bytes(tmp_path, array_bytes("K\x01\x85")).read().shape == (1,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (array_bytes("K\x02\x85"), "has 4 bytes, expected 8"),
        (array_bytes("J\xff\xff\xff\x7f" * 2 + "\x86"), "has 4 bytes, expected"),
        (array_bytes("J\xff\xff\xff\xff\x85"), "wrong shape"),  # -1
        (array_bytes("(" + "K\x01" * 9 + "t"), "wrong shape"),
        (array_bytes("K\x00\x8a\x08" + "\xff" * 7 + "\x7f\x86", b"C\x00"), "wrong shape"),
        (array_bytes("K\x01"), "wrong shape"),
        (array_bytes("K\x01\x85", b"]"), "content is no bytes"),
        (array_bytes("K\x01\x85", dtype="4f4"), "dtype '4f4'"),
        (array_bytes("K\x01\x85", dtype="f4,f4"), "dtype 'f4,f4'"),
        (array_bytes("K\x01\x85", dtype="f999"), "wrong arguments of a dtype"),
        (array_bytes("K\x01\x85", dtype="O8"), "dtype 'O8'"),
    ],
)
def test_arrays_that_do_not_fit_their_bytes_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_bytes(tmp_path, content)


def with_axes(axes: bytes) -> bytes:
    """An array of the shape (1, 1) whose axes these instructions make."""
    return (
        PROTO
        + stack_global("numpy._core.numeric", "_frombuffer")
        + b"(C\x04abcd"
        + stack_global("numpy", "dtype")
        + b"\x8c\x02f4\x89\x88\x87R"
        + b"K\x01K\x01\x86\x8c\x01K"
        + axes
        + b"tR."
    )


def test_the_axes_of_an_array_are_whole_numbers(tmp_path):
    assert read_bytes(tmp_path, with_axes(b"K\x01K\x00\x86")).shape == (1, 1)
    # Two equal trees of tuples with shared branches: comparing them would take 2**60 steps
    tree = b")" + b"".join(b"q%c" % n + b"h%c" % n + b"\x86" for n in range(60))
    other = tree.replace(b"q", b"q").replace(b"h", b"h")
    deep = b")" + b"\x85" * 200_000
    number = b"G\x3f\xf0\x00\x00\x00\x00\x00\x00"  # 1.0
    for axes in (tree + other, deep + deep, number + b"K\x00", b"\x88K\x00"):
        with pytest.raises(DataError, match="wrong arguments of a array of bytes"):
            read_bytes(tmp_path, with_axes(axes + b"\x86"))


@pytest.mark.parametrize(
    "content",
    [
        PROTO + b"\x8e" + struct.pack("<Q", 1 << 60) + b".",  # bytes of an exabyte
        PROTO + b"\x8d" + struct.pack("<Q", 1 << 40) + b".",
        PROTO + b"\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        PROTO + b"Nr\xff\xff\xff\xff.",  # remembered as number 4294967295
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # a whole number of 2 GB
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        array_bytes("J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87"),
    ],
)
def test_sizes_in_the_file_do_not_cost_memory(tmp_path, content):
    tracemalloc.start()
    try:
        read_bytes(tmp_path, content)
    except DataError as error:
        assert "some.pkl" in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_BYTES


def test_a_text_that_is_used_again_and_again_does_not_fill_the_memory(tmp_path):
    """Each use as bytes would be a new copy of a megabyte."""
    size = 1 << 20
    encode = stack_global("_codecs", "encode") + b"\x94"
    use = b"h\x02h\x00h\x01\x86R"
    content = PROTO + b"X" + struct.pack("<I", size) + b"a" * size + b"\x94"
    content += b"\x8c\x06latin1\x94" + encode + b"(" + use * 1000 + b"t."
    tracemalloc.start()
    with pytest.raises(DataError, match="more bytes than the file has"):
        read_bytes(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_BYTES


def test_the_number_of_values_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(DataError, match="more than 1,000 instructions"):
        read_bytes(tmp_path, PROTO + b"]" * 2000)


@pytest.mark.parametrize("opening", [b"]", b"(", b"}K\x00"], ids=["lists", "marks", "dicts"])
def test_deep_nesting_ends_in_a_value_or_a_message(tmp_path, opening):
    closing = {b"]": b"a", b"(": b"t", b"}K\x00": b"s"}[opening]
    depth = 200_000
    content = PROTO + opening * depth + b"N" + closing * depth + b"."
    value = read_bytes(tmp_path, content)
    assert value is not None
    with pytest.raises(DataError):
        read_bytes(tmp_path, PROTO + b"}" + b"N\x85" * depth + b"K\x01s.")
    tuples = b"}N" + b"\x85" * depth + b"K\x01s."  # a deep tuple as a key would be hashed
    with pytest.raises(DataError, match="keys are no texts or whole numbers"):
        read_bytes(tmp_path, PROTO + tuples)


def test_a_container_may_contain_itself(tmp_path):
    value = read_bytes(tmp_path, PROTO + b"]\x94h\x00a.")
    assert value[0] is value


def test_every_truncation_is_named(tmp_path):
    content = pickle.dumps({"00_0001": {"keypoints": np.ones((2, 86, 2), np.float32)}}, 4)
    for length in range(1, len(content)):
        if length < 200 or length % 97 == 0 or length > len(content) - 20:
            with pytest.raises(DataError, match=r"some\.pkl"):
                read_bytes(tmp_path, content[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"some text", "is not a pickle of protocol 2 to 5"),
        (pickle.dumps([1], protocol=0), r"protocol 2 to 5: save it again with .*protocol=4"),
        (b"PK\x03\x04 and so on", "is an archive: unpack it"),
        (gzip.compress(pickle.dumps([1]), mtime=0), "is an archive: unpack it"),
        (b"\x93NUMPY", "is not a pickle"),
        (PROTO + b"\x8c\x02\xff\xfe.", "not UTF-8"),
        (PROTO + b".", "a value is missing"),
        (PROTO + b"a.", "a value is missing"),
        (PROTO + b"NNa.", "a container is missing"),
        (PROTO + b"t.", "a mark is missing"),
        (PROTO + b"}(Nu.", "a key without a value"),
        (PROTO + b"h\x05.", "remembered value 5 is missing"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_bytes(tmp_path, content)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            read_pickle(path)
