"""A checkpoint of more than 1 GB loads in about its own size of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint.files import state

from emotion2vec.checkpoint import save_model
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.config import load_config

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import emotion2vec, emotion2vec.model.encoder
def peak():  # of this program alone; ru_maxrss would count the process that started it
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) * 1024
before = peak()
model = emotion2vec.load_model(sys.argv[1])
assert model.config.width == 1024 and model.frontend.layers[0].weight.device.type == "cpu"
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["fairseq", "native"])
def test_peak_memory_of_a_large_model(kind: str, root: Path, tmp_path: Path) -> None:
    config = load_config(root / "configs" / "pretrain" / "large.yaml", ["data.train=x", "run.dir=x"]).model
    with torch.device("meta"):
        model = Emotion2vec(config)
    model = model.to_empty(device="cpu")
    for value in model.parameters():
        torch.nn.init.uniform_(value)
    if kind == "fairseq":
        path = weights = tmp_path / "large.pt"
        torch.save({"model": state(model, wrapper="d2v_model.")}, path)
    else:
        path, weights = tmp_path / "large", tmp_path / "large" / "model.safetensors"
        save_model(path, config, model.state_dict())
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    size, used = weights.stat().st_size, int(done.stdout)
    print(f"{kind}: {size / 2**20:.0f} MiB on disk, {used / 2**20:.0f} MiB of memory at the peak")
    assert size > 1e9
    assert used < 1.2 * size
