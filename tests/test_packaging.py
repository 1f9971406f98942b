"""What is installed: a wheel with the shipped models and configurations, which works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

SCRIPT = """
import socket, sys
sys.path.insert(0, sys.argv[1])

def refuse(*arguments, **words):
    raise AssertionError("something asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
import emotion2vec
assert emotion2vec.__file__.startswith(sys.argv[1]), emotion2vec.__file__
assert emotion2vec.extract_features(sys.argv[2]).frames.shape[1] == 512
sys.argv = ["emotion2vec", "info"]
from emotion2vec.cli import main
main()
"""


def build(root: Path, kind: str, output: Path) -> Path:
    script = f"from setuptools.build_meta import build_{kind} as build; import sys; print(build(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, str(output)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output / done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_wheel_of_an_sdist_works_alone(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((root / name).read_bytes())
    with tarfile.open(build(copy, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    wheel = build(source, "wheel", tmp_path)
    assert wheel.stat().st_size < 45_000_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for name in ("model.json", "model.safetensors", "README.md", "LICENSE"):
        shipped = tmp_path / "site" / "emotion2vec" / "_assets" / "checkpoints" / "compact" / name
        assert shipped.read_bytes() == (root / "checkpoints" / "compact" / name).read_bytes()
    clip = root / "examples" / "sample_speech" / "en1_angry_1.opus"
    command = [sys.executable, "-I", "-c", SCRIPT, str(tmp_path / "site"), str(clip)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout and "cc-by-nc-sa-4.0" in done.stdout
