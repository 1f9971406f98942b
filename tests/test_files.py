"""No output is called by what it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from emotion2vec.cli import main
from emotion2vec.errors import ConfigError
from emotion2vec.files import check_file_name, check_folder_name


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["visualize", "--root", "in", "--output", "v.png"], "v.png, expected a name that ends in .html or .htm"),
        (["extract", "in", "--model", "tiny", "--output", "f.csv"], "f.csv, but format npy is written into a folder"),
        (["extract", "in", "--model", "tiny", "--output", "f.H5", "--format", "hdf5"], "expected a path without .H5"),
        (["extract", "in", "--model", "tiny", "--output", "f.npz"], "f.npz is the name of an archive"),
        (["predict", "in", "--model", "tiny", "--output", "f.txt"], "ends in .jsonl or .csv"),
        (
            ["probe", "--root", "in", "--features", "logmel", "--output", "f.csv"],
            "f.csv, expected a name that ends in .json",
        ),
        (["prepare", "in", "shards.tar"], "shards.tar, but a corpus is written into a folder"),
        (["pretrain", "--config", "tiny", "data.train=in", "run.dir=run.pt"], "run.dir is run.pt, but a run is"),
        (["benchmark", "data=in", "output=b.html"], "b.html, but a benchmark is written into a folder"),
        (["convert", "tiny", "m.bin", "--to", "funasr"], "m.bin, but funasr is written into a folder"),
        (["export", "tiny", "m.pb"], "m.pb"),
    ],
)
def test_outputs_of_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, words: list[str], found: str
) -> None:
    import soundfile

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / name / "x.wav", [0.1, -0.1] * 4_000, 16_000)
    monkeypatch.setattr(sys, "argv", ["emotion2vec", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert found in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_no_suffix_of_a_file_is_part_of_a_name(tmp_path: Path) -> None:
    for name in ("feats", "feats.v2", "run.2026", ".hidden", "base.1e-4"):
        check_folder_name(tmp_path / name, "output", "this")
    (tmp_path / "old.csv").mkdir()
    check_folder_name(tmp_path / "old.csv", "output", "this")
    check_file_name("scores", "output", [".json"])
    with pytest.raises(ConfigError, match=r"ends in \.json, which"):
        check_file_name("scores.yaml", "output", [".json"])
