"""Every format, read back by the package that owns it. L: layers. T: frames. D: channels of a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extraction.helpers import WIDTH, speech

from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.writers import parts
from emotion2vec.model.encoder import Emotion2vec

LENGTHS = {"s1/a": 5_000, "s1/b": 16_000, "s2/ä 怒": 700, "c": 9_123}
Arrays = dict[str, np.ndarray]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with labels and speakers."""
    rows = ["file,emotion,speaker"]
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        path = tmp_path / "in" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech(samples, seed), 16_000, subtype="FLOAT")
        rows.append(f"{name}.wav,{'angry' if seed % 2 else 'sad'},anna")
    (tmp_path / "in" / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "in" / "list.csv"


def read_safetensors(out: Path) -> Arrays:
    safetensors = pytest.importorskip("safetensors.numpy")
    files = sorted(out.rglob("*.safetensors"))
    return {
        path.relative_to(out).with_suffix("").as_posix() + "." + name: array
        for path in files
        for name, array in safetensors.load_file(path).items()
    }


def read_parquet(out: Path) -> Arrays:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(sorted(out.glob("*.parquet")))
    assert table.column_names[:6] == ["id", "file", "start", "duration", "label", "speaker"]
    rows = table.to_pylist()
    assert {row["id"]: row["label"] for row in rows}["s1/b"] == "angry" and rows[0]["speaker"] == "anna"
    return {f"{row['id']}.{name}": np.array(row[name]) for row in rows for name in table.column_names[6:]}


def read_hdf5(out: Path) -> Arrays:
    h5py = pytest.importorskip("h5py")
    found = {}
    for path in out.glob("*.h5"):
        with h5py.File(path) as file:
            for name in LENGTHS:
                if name in file:
                    assert file[name].attrs["speaker"] == "anna"
                    found |= {f"{name}.{key}": array[...] for key, array in file[name].items()}
    return found


def read_npz(out: Path) -> Arrays:
    with np.load(out / "features.npz", allow_pickle=False) as archive:
        return dict(archive)


READERS: dict[str, Callable[[Path], Arrays]] = {
    "safetensors": read_safetensors, "parquet": read_parquet, "hdf5": read_hdf5, "npz": read_npz,
}  # fmt: skip
NEEDS = {"parquet": "pyarrow", "hdf5": "h5py"}


@pytest.mark.parametrize("format", list(READERS))
@pytest.mark.parametrize("layers", ["last", "all"])
def test_frames_and_utterances_come_back(
    model: Emotion2vec, table: Path, tmp_path: Path, format: str, layers: str
) -> None:
    if format in NEEDS:
        pytest.importorskip(NEEDS[format])
    out = tmp_path / "out"
    report = extract(table, model=model, output=out, format=format, granularity="both", layers=layers)
    assert (report.written, report.failed) == (4, [])
    found = READERS[format](out)
    assert sorted(found) == sorted(f"{name}.{key}" for name in LENGTHS for key in ("frames", "utterance"))
    for name in LENGTHS:
        features = model.extract_features(table.parent / f"{name}.wav", layers=True)
        assert features.layers is not None
        frames = features.layers if layers == "all" else features.frames
        np.testing.assert_allclose(found[f"{name}.frames"], frames, atol=1e-5)
        np.testing.assert_allclose(found[f"{name}.utterance"], frames.mean(axis=-2), atol=1e-5)


@pytest.mark.parametrize("granularity", ["frame", "utterance"])
def test_kaldi_archives_are_read_by_kaldiio(model: Emotion2vec, table: Path, tmp_path: Path, granularity: str) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    out = tmp_path / "out"
    report = extract(table, model=model, output=out, format="kaldi", granularity=granularity)
    assert report.written == 3 and "white space" in report.failed[0].reason
    archive, index = (
        kaldiio.load_scp(str(out / "features-00000.scp")),
        kaldiio.load_ark(str(out / "features-00000.ark")),
    )
    assert sorted(archive) == sorted(name for name, _ in index) == ["c", "s1/a", "s1/b"]
    for name in archive:
        features = model.extract_features(table.parent / f"{name}.wav")
        expected = features.frames if granularity == "frame" else features.utterance[None]
        np.testing.assert_allclose(archive[name], expected, atol=1e-5)


def iemocap_reader(prefix: Path) -> Iterator[tuple[str, np.ndarray]]:
    """What the recipe's own loader does: lengths cut the frames, the second field of a line is the label."""
    frames, offset = np.load(f"{prefix}.npy"), 0
    lengths = Path(f"{prefix}.lengths").read_text().splitlines()
    labels = Path(f"{prefix}.emo").read_text().splitlines()
    for length, line in zip(lengths, labels, strict=True):
        yield line.rstrip().split()[1], frames[offset : offset + int(length)]
        offset += int(length)
    assert offset == len(frames)


def test_the_iemocap_layout_keeps_the_order_of_the_list(model: Emotion2vec, table: Path, tmp_path: Path) -> None:
    report = extract(table, model=model, output=tmp_path / "out", format="iemocap")
    assert report.written == 3 and "white space" in report.failed[0].reason
    found = list(iemocap_reader(tmp_path / "out" / "train"))
    for (label, frames), (name, emotion) in zip(
        found, [("s1/a", "sad"), ("s1/b", "angry"), ("c", "angry")], strict=True
    ):
        assert label == emotion and frames.shape[1] == WIDTH
        np.testing.assert_allclose(frames, model.extract_features(table.parent / f"{name}.wav").frames, atol=1e-5)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["failed.jsonl", "inputs.jsonl", "job.json", "train.emo", "train.lengths", "train.npy"]


@pytest.mark.parametrize("format", ["parquet", "hdf5", "kaldi"])
def test_jobs_in_parts_are_resumed(
    model: Emotion2vec, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    if format in NEEDS:
        pytest.importorskip(NEEDS[format])
    monkeypatch.setattr(parts, "PART_BYTES", 1)  # a part per item
    out = tmp_path / "out"
    extract(table.parent / "s1", model=model, output=out, format=format)
    assert len(list(out.glob("features-*[0-9].[hpa]*"))) == 2
    (out / "features-00000.parquet").unlink(missing_ok=True)
    missing = 1 if format == "parquet" else 0
    report = extract(table.parent / "s1", model=model, output=out, format=format, resume=True)
    assert (report.written, report.skipped) == (missing, 2 - missing)
    report = extract(table.parent / "s1", model=model, output=out, format=format)
    assert report.written == 2 and len(list(out.glob("features-*[0-9].[hpa]*"))) == 2


def test_what_a_format_cannot_hold_is_refused(model: Emotion2vec, table: Path, tmp_path: Path) -> None:
    for options in ({"layers": "all"}, {"granularity": "both"}, {"dtype": "float16"}):
        with pytest.raises(ConfigError, match="holds one float32 matrix"):
            extract(table, model=model, output=tmp_path / "out", format="kaldi", **options)  # type: ignore[arg-type]
    for options in ({"granularity": "utterance"}, {"layers": "all"}, {"shard": "0/2"}):
        with pytest.raises(ConfigError, match="format is 'iemocap', expected"):
            extract(table, model=model, output=tmp_path / "out", format="iemocap", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("format", "package"), [("parquet", "pyarrow"), ("hdf5", "h5py")])
def test_a_missing_package_is_named_with_its_command(
    model: Emotion2vec, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, package: str
) -> None:
    monkeypatch.setattr("emotion2vec.extraction.writers.base.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}: pip install 'emotion2vec\[{format}\]'"):
        extract(table, model=model, output=tmp_path / "out", format=format)


def test_a_job_without_shards_leaves_the_files_of_shards_alone(model: Emotion2vec, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for shard in ("0/2", "1/2"):
        extract(table.parent / "s1", model=model, output=out, format="kaldi", shard=shard)
    for folder in ("s1", "s2"):  # the second one has nothing that fits, and leaves the first one's files
        extract(table.parent / folder, model=model, output=out, format="kaldi")
    assert sorted(path.name for path in out.glob("*.ark")) == [
        "features-0-of-2-00000.ark", "features-00000.ark", "features-1-of-2-00000.ark",
    ]  # fmt: skip
