"""Files of features from strangers: what unpacks without end, lies elsewhere or is damaged is refused."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.stored.formats import FORMATS, npz_entries

GOOD = np.arange(8, dtype=np.float32).reshape(2, 4)


def header(shape: tuple[int, ...]) -> bytes:
    """A file of NumPy's that says that it has this shape, and has four numbers."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16)


def entries(format: str, folder: Path, file: Path) -> dict[str, Any]:
    return dict(FORMATS[format][1](folder, file))


def refused(read: Any) -> None:
    """Reading raises what a probe reports of a clip, and makes no room for what is not there."""
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, OSError, EOFError, OverflowError)):
            for array in read().values():
                np.asarray(array, np.float32)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**31, 4), (2**62,), (2**40, 2**40), (-1, 4), (2**64,)])
def test_arrays_that_are_not_there(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header(shape))
    np.save(tmp_path / "b.npy", GOOD)
    refused(entries("npy", tmp_path, tmp_path / "a.npy")["a"])
    assert np.array_equal(entries("npy", tmp_path, tmp_path / "b.npy")["b"]()["frames"], GOOD)


def test_archives_that_unpack_without_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((1 << 25, 1)) + bytes(1 << 27))
    with pytest.raises(ManifestError, match=r"a\.npz: 'x\.npy': .* bytes that unpack to 134,2"):
        npz_entries(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((1000, 100), np.float32))
    assert dict(npz_entries(tmp_path / "b.npz"))["x"]()["frames"].shape == (1000, 100)


@pytest.mark.parametrize("content", [b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04", b"", b"\x93NUMPY"])
def test_archives_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ManifestError, match=r"cannot be read as \.npz"):
        npz_entries(tmp_path / "a.npz")


@pytest.mark.parametrize(("rows", "columns"), [(2**31 - 1, 2**31 - 1), (-1, 4), (0, 4), (4, -4), (100, 100)])
def test_matrices_of_kaldi_that_are_not_there(rows: int, columns: int, tmp_path: Path) -> None:
    (tmp_path / "a.ark").write_bytes(b"a \0BFM " + struct.pack("<bibi", 4, rows, 4, columns) + bytes(64))
    (tmp_path / "a.scp").write_text("a a.ark:2\n")
    refused(entries("kaldi", tmp_path, tmp_path / "a.scp")["a"])


@pytest.mark.parametrize("lengths", ["-1\n3\n", "x\n", "9\n9\n", "1\n"])
def test_lengths_of_the_recipe_that_do_not_fit(lengths: str, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", GOOD)
    (tmp_path / "train.lengths").write_text(lengths)
    (tmp_path / "train.emo").write_text("a sad\nb sad\n")
    with pytest.raises(ManifestError, match=r"train\.lengths"):
        entries("iemocap", tmp_path, tmp_path / "train.lengths")
    (tmp_path / "train.npy").write_bytes(header((2**31, 4)))
    with pytest.raises(ManifestError, match=r"train\.(npy|lengths): cannot be read"):
        entries("iemocap", tmp_path, tmp_path / "train.lengths")


def test_hdf5_that_lies_in_other_files_or_nowhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["frames"] = GOOD
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["good/frames"] = GOOD
        file.create_group("linked")["frames"] = h5py.ExternalLink("other.h5", "frames")
        file.create_dataset("raw/frames", (4, 4), "<f4", external=[(str(tmp_path / "secret"), 0, 64)])
        file.create_dataset("endless/frames", (2**33, 4), "<f4", chunks=(1024, 4))
        layout = h5py.VirtualLayout((2, 4), "<f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "frames", (2, 4))
        file.create_virtual_dataset("virtual/frames", layout)
    found = entries("hdf5", tmp_path, tmp_path / "a.h5")
    assert np.array_equal(found["good"]()["frames"], GOOD)
    assert "linked" not in found or found["linked"]() == {}
    for name in ("raw", "endless", "virtual"):
        refused(found[name])
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:600])
    with pytest.raises(ManifestError, match="cannot be read as HDF5"):
        entries("hdf5", tmp_path, tmp_path / "b.h5")
