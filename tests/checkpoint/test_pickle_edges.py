"""Limits of the safe reader: what just fits is read as PyTorch or Python would, and one more is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint.archives import program, storage, tensor, text, write_legacy, write_zip

from emotion2vec.checkpoint.budget import MOST_DIRECTORY, MOST_EMPTY, MOST_RANK, Budget
from emotion2vec.checkpoint.mapped import MappedFile
from emotion2vec.checkpoint.pickle import torchfile
from emotion2vec.checkpoint.pickle.records import MOST_SETTINGS, DamagedPickle, Name, Record, count_of, plain
from emotion2vec.checkpoint.pickle.torchfile import _InPieces, _Storages, read_torch_file
from emotion2vec.checkpoint.pickle.unpickle import read_pickle
from emotion2vec.errors import CheckpointError


def read(content: bytes) -> Any:
    """What a pickle holds, its storages as they are asked for."""
    return read_pickle(io.BytesIO(content), "x.pkl", lambda *asked: list(asked), lambda *_: None, Budget())


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1])
def test_sizes_that_there_may_be(value: int) -> None:
    assert count_of(value) == value


@pytest.mark.parametrize("value", [-1, 2**63, True, False, 1.0, "1", None])
def test_sizes_that_there_are_not(value: Any) -> None:
    with pytest.raises(ValueError, match="where a size belongs"):
        count_of(value)


@pytest.mark.parametrize(
    "wrap", [lambda one: [one], lambda one: {"a": one}, lambda one: Record(Name("x", "Y"), (one,))]
)
def test_settings_lie_60_deep_at_most(wrap: Any) -> None:
    value: Any = 1
    for _ in range(60):
        value = wrap(value)
    plain(value)
    with pytest.raises(DamagedPickle, match="more than 60 deep"):
        plain(wrap(value))


def test_settings_are_100_000_values_at_most() -> None:
    assert len(plain([0] * (MOST_SETTINGS - 1))) == MOST_SETTINGS - 1
    with pytest.raises(DamagedPickle, match="more than 100000"):
        plain([0] * MOST_SETTINGS)


def test_a_record_is_what_its_class_holds() -> None:
    kind = Name("omegaconf", "DictConfig")
    node = Record(Name("omegaconf", "AnyNode"), state={"_val": 7, "_metadata": "x"})
    assert plain(Record(kind, state={"_content": {"a": node}, "_parent": "x"})) == {"a": 7}
    assert plain(Record(kind, (1,), {"a": 2})) == {"a": 2}
    assert plain(Record(kind, (5,))) == 5
    assert plain(Record(kind)) == plain(Record(kind, (1, 2))) == plain(kind) == "omegaconf.DictConfig"


@pytest.mark.parametrize("version", [2, 5])
def test_protocols_that_there_are(version: int) -> None:
    assert read(b"\x80" + bytes([version]) + b"N.") is None


def test_a_protocol_to_come_is_refused() -> None:
    with pytest.raises(DamagedPickle, match="pickle protocol 6"):
        read(b"\x80\x06N.")


def test_a_storage_has_a_kind_a_key_a_place_and_a_count() -> None:
    kind = b"ctorch\nHalfStorage\n"
    assert read(program(storage(kind, key="a", count=3))) == ["Half", "a", 3]
    assert read(program(b"(" + text("storage") + kind + text("a") + text("cpu") + b"K\x03Nt" + b"Q")) == [
        "Half",
        "a",
        3,
    ]
    for body in (
        text("storage") + kind + text("a") + text("cpu"),
        text("module") + kind + text("a") + text("cpu") + b"K\x03",
        text("storage") + text("torch.HalfStorage") + text("a") + text("cpu") + b"K\x03",
        text("storage") + b"ctorch\ndevice\n" + text("a") + text("cpu") + b"K\x03",
    ):
        with pytest.raises(CheckpointError, match="outside the pickle that is no storage"):
            read(program(b"(" + body + b"tQ"))


@pytest.fixture
def storages(tmp_path: Path) -> _Storages:
    """Sixty bytes: one storage of ten numbers in the middle, one that goes on behind the end."""
    (tmp_path / "x").write_bytes(struct.pack("<15f", *range(15)))
    return _Storages(MappedFile(tmp_path / "x"), {"a": (8, 40), "b": (24, 40), "c": (20, 40)})


def test_a_storage_lies_in_the_file(storages: _Storages) -> None:
    assert storages.storage("Float", "a", 10).count == 10
    assert storages.storage("Float", "c", 10).offset == 20
    for key, count in (("a", 11), ("b", 10), ("b", 1)):
        with pytest.raises(ValueError, match=f"storage {key} has {count} numbers"):
            storages.storage("Float", key, count)
    with pytest.raises(KeyError):
        storages.storage("Float", "d", 1)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        *[(0, (10,), (1,)), (9, (1,), (1,)), (0, (2, 5), (5, 1)), (1, (3, 3), (3, 1))],
        *[(0, (5, 2), (1, 5)), (0, (4,), (3,)), (3, (), ())],
    ],
)
def test_a_tensor_is_pytorchs_view(storages: _Storages, offset: int, size: Any, stride: Any) -> None:
    found = storages.tensor(storages.storage("Float", "a", 10), offset, size, stride)
    assert found is not None
    assert torch.equal(found, torch.arange(2.0, 12.0).as_strided(size, stride, offset))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        *[(0, (11,), (1,)), (1, (10,), (1,)), (10, (1,), (1,)), (10, (), ())],
        *[(0, (2, 5), (6, 1)), (0, (11,), (0,)), (0, (4, 3), (0, 1))],
    ],
)
def test_a_tensor_has_no_more_than_its_storage(storages: _Storages, offset: int, size: Any, stride: Any) -> None:
    with pytest.raises(ValueError, match="in a storage of 10 numbers"):
        storages.tensor(storages.storage("Float", "a", 10), offset, size, stride)


def test_a_tensor_without_numbers_is_empty_and_small(storages: _Storages) -> None:
    numbers = storages.storage("Float", "a", 10)
    for size in ((0,), (0, 3), (MOST_EMPTY, 0)):
        found = storages.tensor(numbers, 0, size, (1,) * len(size))
        assert found is not None and found.shape == size
    for size in ((0, MOST_EMPTY + 1), (0, *[1] * MOST_RANK), (-1,)):
        with pytest.raises(ValueError, match="a tensor of shape"):
            storages.tensor(numbers, 0, size, (1,) * len(size))
    assert storages.tensor(numbers, 0, (1,) * MOST_RANK, (1,) * MOST_RANK) is not None
    for broken in ((numbers, 0, (1, 1), (1,)), ("a", 0, (1,), (1,))):
        with pytest.raises(ValueError, match="without storage or strides"):
            storages.tensor(*broken)  # type: ignore[arg-type]


def test_an_archive_names_its_members_in_16_mb(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    stream = _InPieces(tmp_path / "x")
    assert stream.read(MOST_DIRECTORY) == b"abc" and stream.read() == b""
    with pytest.raises(ValueError, match="names its members in 16,777,217 bytes"):
        stream.read(MOST_DIRECTORY + 1)


@pytest.mark.parametrize(("limit", "what"), [("MOST_PICKLE", "is too large"), ("MOST_MEMBERS", "members, expected")])
def test_an_archive_may_have_as_much_as_the_limits_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, what: str
) -> None:
    description = program(b"}" + text("x") + tensor((4,), (1,)) + b"s")
    path = write_zip(tmp_path / "model.pt", description)
    most = len(description) if limit == "MOST_PICKLE" else 3
    monkeypatch.setattr(torchfile, limit, most)
    assert read_torch_file(path).content["x"].tolist() == [0.0] * 4
    monkeypatch.setattr(torchfile, limit, most - 1)
    with pytest.raises(CheckpointError, match=what):
        read_torch_file(path)


def test_twenty_strange_members_are_named(tmp_path: Path) -> None:
    strange = {f"model/odd {number}": b"" for number in range(30)}
    with pytest.raises(CheckpointError) as raised:
        read_torch_file(write_zip(tmp_path / "model.pt", program(b"N"), extra=strange))
    lines = str(raised.value).splitlines()
    assert lines[1:] == [f"  'model/odd {number}' is no part of a checkpoint" for number in range(20)]


LONG = "1" * 200


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "what", "times"),
    [
        ("data/", "is compressed or encrypted", 1),
        ("odd ", "is no part of a checkpoint", 1),
        ("data/", "is there twice", 2),
    ],
)
def test_names_of_members_are_cut_after_100_letters(tmp_path: Path, name: str, what: str, times: int) -> None:
    member, path = f"model/{name}{LONG}", tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if times == 1 else zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", program(b"N"))
        for _ in range(times):
            archive.writestr(member, bytes(999))
    with pytest.raises(CheckpointError) as raised:
        read_torch_file(path)
    assert f"  {member[:100]!a} {what}" in str(raised.value).splitlines()


def test_where_a_member_is_damaged_is_said_by_100_letters(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "model.pt", program(b"N"), extra={f"model/data/{LONG}": bytes(4)})
    content = path.read_bytes()
    path.write_bytes(content.replace(f"model/data/{LONG}".encode(), f"model/data/{LONG[:-1]}2".encode(), 1))
    with pytest.raises(CheckpointError) as raised:
        read_torch_file(path)
    assert str(raised.value).endswith(f"the zip archive is damaged at {f'model/data/{LONG}'[:100]!a}")


def test_a_file_of_the_old_format_ends_with_its_last_number(tmp_path: Path) -> None:
    description = program(b"}" + text("x") + tensor((4,), (1,)) + b"s")
    path = write_legacy(tmp_path / "model.pt", description)
    assert read_torch_file(path).content["x"].shape == (4,)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=f"but what starts at byte {len(whole) - 16:,} has 16 more: truncated"):
        read_torch_file(path)
