"""Files of features from strangers: what unpacks without end, lies elsewhere or is damaged is refused."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.stored.formats import FORMATS, npz_entries
from emotion2vec.probe.features.stored.opening import open_store

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
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header(shape))
    refused(dict(npz_entries(tmp_path / "a.npz"))["x"])
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


def parquet(file: Path, **options: Any) -> dict[str, Any]:
    """What is found in a file of two clips and what the options put in place of their columns."""
    pyarrow = pytest.importorskip("pyarrow")
    table = {"id": ["a", "b"], "utterance": pyarrow.array([[1.0, 2.0], [3.0, 4.0]], pyarrow.list_(pyarrow.float32()))}
    columns = {name: options.pop(name) for name in ("id", "utterance") if name in options}
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(table | columns), file, **options)
    return entries("parquet", file.parent, file)


def varint(value: int, length: int = 0) -> bytes:
    """A number as Thrift writes it, in so many bytes at least."""
    found = [value * 2]
    while found[-1] > 127 or len(found) < length:
        found[-1:] = [found[-1] & 127 | 128, found[-1] >> 7]
    return bytes(found)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_parquet_of_every_kind_is_read(compression: str, version: str, tmp_path: Path) -> None:
    found = parquet(tmp_path / "a.parquet", compression=compression, data_page_version=version, row_group_size=1)
    assert {name: read()["utterance"].tolist() for name, read in found.items()} == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("honest", [True, False])
def test_parquet_that_unpacks_without_end(dictionary: bool, honest: bool, tmp_path: Path) -> None:
    """64 MiB of zeros in a few bytes, which a footer may say nothing of."""
    pyarrow, file = pytest.importorskip("pyarrow"), tmp_path / "a.parquet"
    count = 1 << 24
    zeros = pyarrow.array([np.zeros(count, np.float32)], pyarrow.list_(pyarrow.float32()))
    table = pyarrow.table({"id": ["a"], "utterance": zeros})
    writer = pytest.importorskip("pyarrow.parquet")
    writer.write_table(table, file, compression="zstd", use_dictionary=dictionary)
    column = writer.read_metadata(file).row_group(0).column(1)
    if not honest:
        content = file.read_bytes()
        end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        footer = content[end:]
        for said in (column.num_values, column.total_uncompressed_size):
            footer = footer.replace(varint(said), varint(1, len(varint(said))))
        file.write_bytes(content[:end] + footer)
        assert writer.read_metadata(file).row_group(0).column(1).num_values == 1
    with pytest.raises(ManifestError, match=r"a\.parquet: .* bytes that unpack to \d{3},\d{3},"):
        entries("parquet", tmp_path, file)


def test_names_in_parquet_that_are_endless(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    one = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(1000, np.int32)), ["a" * 100_000])
    with pytest.raises(ManifestError, match="bytes that unpack to 100,0"):
        parquet(tmp_path / "a.parquet", id=one, utterance=pyarrow.array([[1.0]] * 1000))


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("utterance", [[{"x": 1}], [{"x": 2}]], "utterance holds list<.*struct.*, expected lists of numbers"),
        ("utterance", [["x"], ["y"]], "utterance holds list<.*string>, expected lists of numbers"),
        ("utterance", [1.0, 2.0], "utterance holds double, expected lists of numbers"),
        ("id", [1, 2], "id holds int64, expected text"),
        ("id", ["a", None], "1 rows have no id"),
    ],
)
def test_parquet_with_columns_of_other_kinds(column: str, values: list[Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=rf"a\.parquet: cannot be read as Parquet .*{why}"):
        parquet(tmp_path / "a.parquet", **{column: pytest.importorskip("pyarrow").array(values)})


def test_damaged_parquet_is_refused_or_read(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    parquet(file)
    content, rng = file.read_bytes(), np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        file.write_bytes(changed[: rng.integers(len(content))] if rng.random() < 0.1 else changed)
        try:
            for read in entries("parquet", tmp_path, file).values():
                with suppress(Exception):  # one clip's fault
                    read()
        except ManifestError:
            refusals += 1
    assert refusals > 100


def test_an_absent_row_of_parquet_is_a_fault_of_its_clip(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    found = parquet(tmp_path / "a.parquet", utterance=pyarrow.array([None, [1.0]], pyarrow.list_(pyarrow.float32())))
    assert found["b"]()["utterance"].tolist() == [1.0]
    with pytest.raises(ValueError, match="there is nothing in its row"):
        found["a"]()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_are_packed_as_numpy_never_packs(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("x.npy", header((4,)))
    with pytest.raises(ManifestError, match=r"a\.npz: 'x\.npy': is packed as NumPy never packs"):
        npz_entries(tmp_path / "a.npz")


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fletcher32", [True, False])
def test_packed_hdf5_is_read(compression: str | None, shuffle: bool, fletcher32: bool, tmp_path: Path) -> None:
    how = {"compression": compression, "shuffle": shuffle, "fletcher32": fletcher32}
    with pytest.importorskip("h5py").File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a/frames", data=GOOD, chunks=(1, 4), **how)
    assert np.array_equal(entries("hdf5", tmp_path, tmp_path / "a.h5")["a"]()["frames"], GOOD)


def test_hdf5_with_pieces_that_unpack_without_end(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a/frames", (2, 4), "<f4", chunks=(2, 4), compression="gzip")
        array.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 26)))
        file.create_dataset("b/frames", (2, 4), "<f4", chunks=(2, 4), compression="lzf")
        file.create_dataset("c/frames", data=["x" * 100_000] * 4)
        file.create_dataset("d/frames", data=np.zeros(4, [("x", "<f4")]))
    found = entries("hdf5", tmp_path, tmp_path / "a.h5")
    reasons = {"a": "more than the 36 bytes", "b": "filters", "c": "holds object", "d": "expected numbers"}
    for name, why in reasons.items():
        with pytest.raises(ValueError, match=why):
            found[name]()


def test_the_record_of_a_job_that_is_none_says_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD)
    for content in ("[" * 100_000, "[]", "{", '{"layers": ' + "[" * 100 + "]" * 100 + "}"):
        (tmp_path / "job.json").write_text(content)
        assert list(open_store(tmp_path).entries) == ["a"]
