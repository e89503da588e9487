"""Pickles of arrays are read as numpy wrote them, and no call that a file asks for is ever run."""

from __future__ import annotations

import collections
import contextlib
import datetime
import pickle
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from commlearn.errors import DataError
from commlearn.storage.pickles import read_pickle

CONTENT = {
    "train": {
        "text": np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32),
        "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(4, dtype=">i4"),
        "objects": np.array(["a", b"b", None, [1, np.float64(2)]], dtype=object),
        "letters": np.array(["ab", "c"]),
        "bytes": np.array([b"ab", b"c"]),
        "bools": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "no axes": np.array(2.0),
        "number": np.float32(3.5),
    },
    "plain": (1, -7, 2.5, None, True, "x\n\u00e9\u6f22", b"yy", b"", 10**30, (), [[]], {}),
}
CALLS = {
    "os.system": b"cos\nsystem\n(S'touch FLAG'\ntR.",
    "posix.system": b"cposix\nsystem\n(S'touch FLAG'\ntR.",
    "subprocess.Popen": b"csubprocess\nPopen\n((S'touch'\nS'FLAG'\nltR.",
    "builtins.eval": b'cbuiltins\neval\n(S\'open("FLAG","w")\'\ntR.',
    "__builtin__.eval": b'c__builtin__\neval\n(S\'open("FLAG","w")\'\ntR.',
    "builtins.exec": b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x01x\x85R.",
    "builtins.getattr": b"cbuiltins\ngetattr\n(cbuiltins\ndict\nS'get'\ntR.",
    "builtins.__import__": b"cbuiltins\n__import__\n(S'os'\ntR.",
    "builtins.open": b"cbuiltins\nopen\n(S'FLAG'\nS'w'\ntR.",
    "builtins.type": b"cbuiltins\ntype\n(S'X'\n)}tR.",
    "builtins.object": b"cbuiltins\nobject\n)\x81.",
    "codecs.decode": b"ccodecs\ndecode\n(S'x'\nS'rot13'\ntR.",
    "_codecs.encode": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    "importlib.import_module": b"cimportlib\nimport_module\n(S'os'\ntR.",
    "operator.attrgetter": b"coperator\nattrgetter\n(S'__class__'\ntR.",
    "functools.partial": b"cfunctools\npartial\n(cos\nsystem\nS'x'\ntR.",
    "numpy.load": b"cnumpy\nload\n(S'FLAG'\ntR.",
    "numpy.core.multiarray.fromfile": b"cnumpy.core.multiarray\nfromfile\n(S'/etc/hostname'\ntR.",
    "numpy.testing._private.utils.runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
    "numpy.ndarray.__class__": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
    "a call of 'numpy.ndarray'": b"cnumpy\nndarray\n(K\x01tR.",
    "the instruction NEWOBJ": b"cnumpy\nndarray\n)\x81.",
    "the array type 'object': a name": b"cnumpy\ndtype\n(S'object'\nI0\nI1\ntR.",
    "the array type 'V8'": b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.",
    "a class other than numpy.ndarray": b"cnumpy.core.multiarray\n_reconstruct\n"
    b"(cnumpy\ndtype\n(K\x00tS'b'\ntR.",
    "INST": b"(S'touch FLAG'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch FLAG'\no.",
    "NEWOBJ_EX": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "an object outside the file ('42')": b"P42\n.",
    "an object outside the file": b"K\x01Q.",
    "the instruction EXT1": b"\x80\x02\x82\x01.",
    "the instruction NEXT_BUFFER": b"\x80\x05\x97.",
    "the instruction EMPTY_SET": b"\x80\x04\x8f.",
    "a changed dict": b"}(S'__class__'\nS'x'\nd}b.",
    "a changed Name": b"cnumpy\nndarray\n}S'__setstate__'\nS'x'\nsb.",
    "a call of a str": b"S'os.system'\n(tR.",
    "something that is not a name": b"\x80\x04K\x01K\x02\x93.",
    "a structured array": b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'|'\n(S'f8'\n(I2\nttNNI8\nI1\nI0\ntb.",
}
REASONS = {"INST": "'os.system'", "OBJ": "'os.system'", "NEWOBJ_EX": "instruction NEWOBJ_EX"}
HUGE = {
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"x.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"x.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "negative long": b"\x80\x02\x8b" + struct.pack("<i", -1) + b"x.",
    "decimal": b"L" + b"9" * 100_000 + b"L\n.",
    "unknown memo": b"\x80\x02j" + struct.pack("<I", 2**31) + b".",
    "array shape": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
    b"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n(S'f8'\nK\x00K\x01tRI00\nS'x'\ntb.",
    "object array": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
    b"(K\x01(J\xff\xff\xff\x7ftcnumpy\ndtype\n(S'O'\nK\x00K\x01tRI00\n(lp0\ntb.",
    "text width": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'S999999999'\nK\x00K\x01tRS'x'\ntR.",
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a hostile pickle would create its file
    return tmp_path / "data.pkl"


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert repr(one.tolist()) == repr(other.tolist())
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    else:
        assert one == other


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", ["core", "_core"])
def test_every_protocol_reads_as_the_standard_library_reads_it(file, protocol, core):
    written = pickle.dumps(CONTENT, protocol)
    if protocol < 4:  # later protocols store the length of each name
        written = written.replace(b"numpy._core", f"numpy.{core}".encode())
    file.write_bytes(written)
    same(read_pickle(file), pickle.loads(written))


def test_python_2_bytes_become_text_and_arrays(file):
    """The bytes are cPickle's in Python 2, protocol 2, for {'text': array([1., 2.]), 'id': 'é'}."""
    raw = np.array([1.0, 2.0]).tobytes()
    file.write_bytes(
        b"\x80\x02}q\x01(U\x04textq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85q\x05U\x01bq\x06\x87q\x07Rq\x08(K\x01K\x02\x85q\tcnumpy\ndtype\nq\nU\x02f8q\x0bK\x00"
        b"K\x01\x87q\x0cRq\r(K\x03U\x01<q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb\x89"
        b"U" + bytes([len(raw)]) + raw + b"q\x10tq\x11bU\x02idq\x12U\x01\xe9q\x13u."
    )
    content = read_pickle(file)
    assert content["text"].tolist() == [1.0, 2.0]
    assert content["id"] == "é"


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False)
            | st.text()
            | st.binary()
            | arrays_of.arrays(st.sampled_from(["f4", ">f8", "i2", "u8", "?", "S3", "U2"]), st.just((2, 1))),
            lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
            max_leaves=6,
        ),
        max_size=4,
    ),
    st.integers(0, 5),
)
def test_any_content_of_admitted_types_comes_back(tmp_path_factory, content, protocol):
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    same(read_pickle(path), pickle.loads(path.read_bytes()))


@pytest.mark.parametrize("wanted", CALLS)
def test_a_pickle_that_wants_anything_else_is_refused_by_name(file, wanted):
    file.write_bytes(CALLS[wanted])
    with pytest.raises(DataError) as refused:
        read_pickle(file)
    assert REASONS.get(wanted, wanted.split(":")[0]) in str(refused.value)
    assert str(file) in str(refused.value)
    assert "was not loaded" in str(refused.value)
    assert not (file.parent / "FLAG").exists()


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=1),
        {1, 2},
        datetime.date(2020, 1, 1),
        np.random.default_rng(0),
        np.ma.array([1.0]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        slice(1, 2),
        CONTENT.get,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_honest_pickles_of_other_things_are_refused_too(file, value, protocol):
    file.write_bytes(pickle.dumps({"a": [value]}, protocol))
    with pytest.raises(DataError, match=r"asks for .*, at byte \d+"):
        read_pickle(file)


def test_a_call_hidden_in_a_deep_place_is_found_before_it_runs(file):
    class Hidden:
        def __reduce__(self):
            return open, ("FLAG", "w")

    content = {"train": {"text": np.array([None, [("x", Hidden())]], dtype=object)}}
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"'_io\.open'|'io\.open'"):
        read_pickle(file)
    assert not (file.parent / "FLAG").exists()


@pytest.mark.parametrize("what", HUGE)
def test_a_length_that_the_file_does_not_have_takes_no_memory(file, what):
    file.write_bytes(HUGE[what])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"damaged|Is it cut off"):
        read_pickle(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_small_file_cannot_make_much_out_of_little(file):
    """The file encodes a text of 1 MB 2000 times, each time into new bytes, which would take 2 GB."""
    text = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20) + b"q\x010"
    call = b"c_codecs\nencode\n(h\x01U\x06latin1tR"
    file.write_bytes(b"\x80\x02(" + text + call * 2000 + b"l.")
    with pytest.raises(DataError, match="far more memory than its content needs"):
        read_pickle(file)


def shared(levels: int) -> bytes:
    """Return nested lists, each holding the next one twice: few bytes, but 2 ** levels items in a copy."""
    lists = b"".join(b"]q%c(h%ch%ce" % (level + 1, level, level) for level in range(levels))
    return b"(]q\x00" + lists + b"1h%c" % levels


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
OBJECTS = ARRAY + b"(K\x01K\x01\x85cnumpy\ndtype\n(S'O'\nK\x00K\x01tR\x89]K\x01atb"
MUCH_OF_LITTLE = {
    "a type's state": b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR" + shared(40) + b"b.",
    "an array's shape": ARRAY + b"(K\x01" + shared(40) + b"NNNtb.",
    "a type's name": b"cnumpy\ndtype\n(" + shared(40) + b"tR.",
    "an encoding": b"c_codecs\nencode\n(S'x'\n" + shared(40) + b"tR.",
    "an object outside": shared(40) + b"Q.",
    "an item of an array": OBJECTS + b"K\x00" + shared(40) + b"s.",
    "buffers of a text": b"(X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20) + b"q\x010"
    b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntRq\x020"
    + b"cnumpy.core.numeric\n_frombuffer\n(h\x01h\x02J\x00\x00\x10\x00\x85S'C'\ntR" * 200
    + b"l.",
    "a deep key": b"})" + b"\x85" * 300_000 + b"Ns.",
}


@pytest.mark.parametrize("what", MUCH_OF_LITTLE)
def test_a_small_file_takes_little_memory_whatever_is_wrong_with_it(file, what):
    """The read runs in a separate process, because a deep key could crash it."""
    file.write_bytes(b"\x80\x02" + MUCH_OF_LITTLE[what])
    program = (
        "import resource\nfrom commlearn.storage.pickles import DataError, read_pickle\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "try:\n    read_pickle('data.pkl')\nexcept DataError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 128 << 10  # KiB


def test_a_huge_memo_number_is_only_a_number(file):
    file.write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")  # the standard library allocates 2 147 483 647 slots
    assert read_pickle(file) is None


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_cut_is_told(file, protocol):
    whole = pickle.dumps({"a": np.arange(3.0), "b": ["x", 1]}, protocol)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"damaged|Is it cut off|is empty"):
            read_pickle(file)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 5))
def test_damage_anywhere_is_an_error_of_ours_or_other_content(tmp_path_factory, noise, place, protocol):
    whole = bytearray(pickle.dumps({"a": np.arange(3.0), "b": ["x", 1, np.float32(2)]}, protocol))
    place %= len(whole)
    whole[place : place + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "noise.pkl"
    path.write_bytes(bytes(whole))
    with contextlib.suppress(DataError):  # anything else is a failure
        read_pickle(path)


def test_what_is_no_pickle_or_no_file_is_told(tmp_path):
    (tmp_path / "page.pkl").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(DataError, match=r"page\.pkl, byte 0: .* is not a pickle instruction"):
        read_pickle(tmp_path / "page.pkl")
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(DataError, match=r"empty\.pkl is empty"):
        read_pickle(tmp_path / "empty.pkl")
    with pytest.raises(DataError, match=r"none\.pkl cannot be read: No such file"):
        read_pickle(tmp_path / "none.pkl")


def test_a_list_that_holds_itself_is_read(file):
    content: list = [1]
    content.append((content,))
    file.write_bytes(pickle.dumps(content))
    read = read_pickle(file)
    assert read[1][0] is read
