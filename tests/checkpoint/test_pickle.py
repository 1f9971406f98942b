"""The safe reader against Python's own and PyTorch's, on what both may read."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint.archives import call, integers, program, tensor, text, write_zip

from emotion2vec.checkpoint.budget import Budget
from emotion2vec.checkpoint.mapped import MappedFile
from emotion2vec.checkpoint.pickle.records import DamagedPickle, Name, Record, plain
from emotion2vec.checkpoint.pickle.torchfile import _Storages, read_torch_file
from emotion2vec.checkpoint.pickle.unpickle import _Machine, read_pickle
from emotion2vec.errors import CheckpointError


def read(content: bytes) -> Any:
    """What a pickle without tensors holds."""
    stream = io.BytesIO(content)
    found = read_pickle(stream, "x.pkl", lambda *_: None, lambda *_: None, Budget())
    assert stream.tell() == len(content)  # the stream stands behind it
    return found


SHARED = ["shared"]
VALUES = {
    "numbers": [0, 1, 255, 256, 65_535, 65_536, -1, 2**31, -(2**40), 2**80, -(2**80), 0.5, -1e300, True, False, None],
    "texts": ["", "a", "ä 怒\n\\", "x" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1, (2,)), ())],
    "lists": [[], [1], list(range(3)), [[[]]], [SHARED, SHARED, [SHARED]]],
    "mappings": [{}, {"a": 1}, {"a": {"b": [1, {}]}, 2: "x", None: 3.5, "c": SHARED}],
    "mappings of other kinds": [OrderedDict(a=1, b=2), defaultdict(list, a=[1]), Counter("aab")],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", VALUES)
def test_plain_values_are_those_of_pickle(kind: str, protocol: int) -> None:
    content = pickle.dumps(VALUES[kind], protocol)
    found = read(content)
    assert found == pickle.loads(content)
    assert list(map(type, found)) == [dict if isinstance(value, dict) else type(value) for value in VALUES[kind]]


@pytest.mark.parametrize("protocol", [4, 5])
def test_bytes_and_sets(protocol: int) -> None:
    value = [b"", b"\x00\xff", b"x" * 300, {1, 2}, frozenset({3})]
    *raw, several, fixed = read(pickle.dumps(value, protocol))
    assert raw == value[:3] and sorted(several) == [1, 2] and list(fixed) == [3]


def test_what_is_shared_is_one_object() -> None:
    first, second, (third,) = read(pickle.dumps([SHARED, SHARED, [SHARED]], 4))
    assert first is second is third


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"K\x01K\x020", 1),  # pop
        (b"K\x012\x86", (1, 1)),  # dup
        (b"K\x05K\x012\x87", (5, 1, 1)),
        (b"](K\x05]K\x01ae", [5, [1]]),
        (b"](K\x05}K\x01K\x02se", [5, {1: 2}]),
        (b"K\x05(K\x01K\x021", 5),  # pop to the mark
        (b"(K\x01K\x02d", {1: 2}),
        (b"(K\x01K\x02l", [1, 2]),
        (b"]q\x07K\x01ah\x07\x86", ([1], [1])),
        (b"]r\x07\x00\x00\x01K\x01aj\x07\x00\x00\x01\x86", ([1], [1])),
        (b"}K\x01K\x02s", {1: 2}),
    ],
)
def test_opcodes_that_pickle_seldom_writes(body: bytes, value: object) -> None:
    assert pickle.loads(program(body)) == value
    assert read(program(body)) == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x80\x06N", "pickle protocol 6"),
        (b"K\x01K\x02a", "where <class 'list'> belongs"),
        (b"K\x01K\x02K\x03s", "where <class 'dict'> belongs"),
        (b"}K\x01\x85K\x02s", "a tuple where"),  # a key that hashes what is in it
        (b"(K\x01d", "no complete pickle"),
        (call("collections", "OrderedDict") + b"N" + b"R", "a call of a dict|arguments of"),
        (b"ccollections\nOrderedDict\nNR", "arguments of collections.OrderedDict are a NoneType"),
        (b"N", None),
    ],
)
def test_programs_that_make_no_sense(body: bytes, reason: str | None) -> None:
    if reason is None:
        assert read(program(body)) is None
        with pytest.raises(DamagedPickle, match="no complete pickle"):
            read(program(body)[:-1])
        return
    with pytest.raises(CheckpointError, match=reason) as raised:
        read(program(body))
    assert str(raised.value).startswith("x.pkl: ")


@pytest.mark.parametrize(
    ("operation", "stack"),
    [
        ("REDUCE", [Name("argparse", "Namespace.evil"), ()]),
        ("NEWOBJ", [Name("pathlib", "Path.unlink"), ()]),
        ("BINPERSID", [("storage", Name("torch", "FloatStorage.from_file"), "0", "cpu", 4)]),
        ("BINPERSID", [("storage", Name("torch", "FloatStorage"), "0", "cpu")]),
        ("BINPERSID", [("module", Name("torch", "FloatStorage"), "0", "cpu", 4)]),
    ],
)
def test_what_a_name_is_used_for_is_checked_beside_the_name(operation: str, stack: list[Any]) -> None:
    """However it came to stand there."""
    machine = _Machine("x.pkl", lambda *_: None, lambda *_: None, Budget())
    machine.stack += stack
    with pytest.raises(CheckpointError, match="nothing was run"):
        machine.step(operation, None)


def test_records_hold_what_was_said_of_them() -> None:
    found = read(pickle.dumps(argparse.Namespace(a=1, b=[2]), 2))
    assert isinstance(found, Record) and found.kind == Name("argparse", "Namespace")
    assert found.state == {"a": 1, "b": [2]} and plain(found) == {"a": 1, "b": [2]}
    slots = read(program(call("argparse", "Namespace") + b"N}" + text("x") + b"K\x01s\x86b"))
    assert slots.state == {"x": 1}
    listed = read(program(call("omegaconf", "ListConfig") + b"(K\x01K\x02e" + text("k") + b"K\x03s"))
    assert listed.items == [1, 2, ("k", 3)]
    built = read(program(b"cfairseq.data\nX\nK\x01\x85}" + text("y") + b"K\x02s\x92"))
    assert (built.arguments, built.state) == ((1,), {"y": 2})
    for inner, kind in ((slots, b"N}" + text("x") + b"K\x01s\x86b"), (listed, b"(K\x01K\x02e" + text("k") + b"K\x03s")):
        record = call(inner.kind.module, inner.kind.name)
        first, second = read(program(b"(" + record + record + kind + b"l"))  # above others, which it leaves alone
        assert (first.state, first.items, second.state, second.items) == ({}, [], inner.state, inner.items)
    ordered = read(program(call("collections", "OrderedDict") + b"}" + text("_metadata") + b"Ns" + b"b"))
    assert ordered == {}  # attributes of a mapping are left alone


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1: (2, [3])}, {"1": [2, [3]]}),
        ({Name("a", "B"): Name("c", "D")}, {"a.B": "c.D"}),
        (Record(Name("pathlib", "PosixPath"), ("a",)), "a"),
        (Record(Name("pathlib", "PosixPath"), ("/", "a")), "pathlib.PosixPath"),
        (Record(Name("x", "Empty")), "x.Empty"),
        (Record(Name("x", "Enum"), (3,)), 3),
        (Record(Name("x", "Node"), (3,), {"_val": 4, "_metadata": 5}), 4),
        (Record(Name("x", "Dict"), (), {"_content": {"a": Record(Name("x", "Node"), (), {"_val": 1})}}), {"a": 1}),
        (Record(Name("x", "Space"), (7,), {"a": 1}), {"a": 1}),
    ],
)
def test_records_come_to_what_they_hold(value: object, expected: object) -> None:
    assert plain(value) == expected


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_those_of_pytorch(zipped: bool, tmp_path: Path) -> None:
    """All types of numbers, shapes and strides, with storages that are shared."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    content = {str(dtype): (100 * base).to(dtype) for dtype in TYPES}
    content |= {
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "one": torch.ones(1),
        "deep": base.view(2, 2, 6),
    }
    content |= {"base": base, "row": base[1], "column": base[:, 2], "turned": base.T, "part": base[1:3, ::2]}
    content |= {"parameter": torch.nn.Parameter(base.clone())}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / "x.pt").content
    assert found.keys() == content.keys()
    for name, value in content.items():
        assert found[name].dtype == value.dtype and found[name].stride() == value.stride(), name
        assert torch.equal(found[name], value), name


TYPES = [torch.float32, torch.float16, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8]
TYPES += [torch.uint8, torch.bool]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (tensor((5,), (1,), count=5), "storage 0 has 5 numbers of 4 bytes, the file 16 bytes"),
        (tensor((5,), (0,)), r"shape \(5,\) in a storage of 4"),
        (tensor((2, 3), (3, 1)), "a storage of 4"),
        (tensor((2, 2), (2, 1), offset=1), "a storage of 4"),
    ],
)
def test_tensors_end_where_their_storage_ends(body: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=reason):
        read_torch_file(write_zip(tmp_path / "x.pt", program(body)))
    for fits in (tensor((4,), (1,)), tensor((2, 2), (2, 1)), tensor((3,), (1,), offset=1), tensor((0, 9), (1, 1))):
        assert not read_torch_file(write_zip(tmp_path / "y.pt", program(fits))).content.any()
    assert b"\x88" not in integers(1)
    sizes = tensor((4,), (1,)).replace(integers(4), b"\x88\x85")
    with pytest.raises(CheckpointError, match="a bool where a size belongs"):
        read_torch_file(write_zip(tmp_path / "z.pt", program(sizes)))


def test_long_names_and_long_lists_of_faults_are_cut(tmp_path: Path) -> None:
    strange = {f"model/{number:02d}{'x' * 200}": b"" for number in range(30)}
    with pytest.raises(CheckpointError) as raised:
        read_torch_file(write_zip(tmp_path / "x.pt", program(b"}"), extra=strange))
    first, *faults = str(raised.value).splitlines()
    assert first.endswith("but not one of torch.save:") and len(faults) == 20
    assert faults[0] == f"  'model/00{'x' * 92}' is no part of a checkpoint"
    with pytest.raises(CheckpointError, match=f"wants 'a.{'b' * 198}', which"):
        read(program(b"ca\n" + b"b" * 300 + b"\n"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty, expected a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer in place of the file"),
        (b" " * 63 + b"<html>", "a web page or XML in place of the file"),
        (b" " * 64 + b"<html>", "70 bytes of no known kind"),
        (b"0123456789", r"10 bytes of no known kind \(they start with b'01234567'\)"),
        (pickle.dumps(5), "a pickle that torch.save did not write"),
        (b"PK\x03\x04 no zip", "no complete zip"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as raised:
        read_torch_file(tmp_path / "x.pt")
    assert str(tmp_path / "x.pt") in str(raised.value)


def test_a_zip_without_members_is_none_of_torch(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w"):
        pass
    with pytest.raises(CheckpointError, match=r"data\.pkl is missing"):
        read_torch_file(tmp_path / "x.pt")


def test_tensors_may_take_four_times_the_file_and_not_a_byte_more(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    storages = _Storages(MappedFile(tmp_path / "x"), {"0": (0, 100)})
    numbers = storages.storage("Byte", "0", 100)
    for _ in range(4):
        found = storages.tensor(numbers, 0, (100,), (1,))
        assert found is not None and found.shape == (100,)
    with pytest.raises(ValueError, match="more than 4 times those of the file"):
        storages.tensor(numbers, 0, (1,), (1,))
