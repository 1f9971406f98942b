"""Benchmarks are run by hand: here they are imported, and the plain network is entered, so that none goes stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import importlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    if path.stem != "fairseq_step":  # needs fairseq
        importlib.import_module(path.stem)
        print(path.stem)
import torch
from plain import plain_network
from networks import tiny_config, waveforms
from emotion2vec.model.encoder import Emotion2vec
model = Emotion2vec(tiny_config().model).eval()
with torch.no_grad():
    own = model(waveforms(1, 8000)).frames
    with plain_network():
        plain = model(waveforms(1, 8000)).frames
print("distance", float((own - plain).abs().max()) < 1e-4)
"""


def test_benchmarks_can_be_imported(root: Path) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root / 'tests')!r})\n{SCRIPT}"]
    done = subprocess.run([*command, str(root / "benchmarks")], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert {"extract", "pretrain_step", "products", "plain"} <= set(done.stdout.split())
    assert "distance True" in done.stdout
