"""Builds files as torch.save writes them, from parts that a test chooses."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def text(value: str) -> bytes:
    """Opcode of a text."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes that call a name with arguments, each given as opcodes."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def program(body: bytes) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + body + b"."


def storage(kind: bytes, key: str = "0", count: int = 4) -> bytes:
    """Opcodes of a storage outside the pickle."""
    return b"(" + text("storage") + kind + text(key) + text("cpu") + b"J" + struct.pack("<i", count) + b"tQ"


def integers(*values: int) -> bytes:
    """Opcodes of a tuple of integers."""
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], count: int = 4, offset: int = 0) -> bytes:
    """Opcodes of a float32 tensor over storage 0."""
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage(b"ctorch\nFloatStorage\n", count=count),
        b"J" + struct.pack("<i", offset),
        integers(*size),
        integers(*stride),
        b"\x89",
        call("collections", "OrderedDict"),
    )


def write_zip(
    path: Path, description: bytes, *, extra: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write an archive with one storage of four zeros."""
    entries = {"model/data.pkl": description, "model/data/0": bytes(16), "model/version": b"3\n", **(extra or {})}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def write_legacy(path: Path, description: bytes, *, system: bytes = b"", keys: bytes = b"") -> Path:
    """Write a file of the format before zip archives, with one storage of four zeros."""
    head = [pickle.dumps(MAGIC, 2), pickle.dumps(VERSION, 2), system or pickle.dumps(SYSTEM, 2)]
    tail = [keys or pickle.dumps(["0"], 2), struct.pack("<q", 4), bytes(16)]
    path.write_bytes(b"".join([*head, description, *tail]))
    return path
