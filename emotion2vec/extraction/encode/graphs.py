"""A network's graph in onnxruntime, which computes in place of the network on a CPU: built once per model and kept.

B: utterances. S: samples of the longest. T: frames of the longest. D: model width. N: utterance tokens.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.exporting.onnx import PACKAGES, write_network
from emotion2vec.files import publish
from emotion2vec.hardware import cache_folder
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.processors import instruction_sets, processor
from emotion2vec.version import library_version

logger = logging.getLogger(__name__)

_building = threading.Lock()


class GraphNetwork:
    """A network's graph; it may be run by several threads at once."""

    def __init__(self, path: Path):
        self._path = path
        self._session: Any = None

    def open(self, lanes: int) -> None:
        """Make ready for as many batches at once, see `lanes`.

        The threads that run them work too, and with those of the session they are as many as PyTorch would use.
        Where there are several lanes, threads that wait must not spin.
        """
        threads = max(1, torch.get_num_threads() - lanes + 1)
        logger.info("onnxruntime computes: batches at once %d, threads %d", lanes, lanes + threads - 1)
        self._session = open_session(str(self._path), threads, spinning=lanes == 1)

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalized waveforms (B, S) of so many samples (B,) to frames (B, T, D) and tokens (B, N, D).

        Raises:
            MemoryError: memory does not suffice.
        """
        if self._session is None:
            self.open(1)
        try:
            with _flushing():
                outputs = self._session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
        except Exception as error:  # onnxruntime's own kinds, which say in words what is wrong
            if "allocate memory" in str(error) or "bad_alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise
        frames = torch.from_numpy(outputs[0])
        return frames, torch.from_numpy(outputs[1]) if len(outputs) > 1 else frames[:, :0]


def open_session(graph: str | bytes, threads: int, *, spinning: bool = True) -> Any:
    """Open a graph, a file's name or its content, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan of memory is made for every shape, and clips have many
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    with _flushing():  # what the first session of a process sets in this thread is set back
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@contextmanager
def _flushing() -> Iterator[None]:
    """Take subnormal numbers as 0 in this thread: ALiBi's attention weights of distant frames are such, and slow."""
    before = bool(torch.tensor(1e-40).mul(1.0).eq(0).item())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def find_graph(model: Emotion2vec) -> Path | None:
    """The graph that was built for a model before; one that is damaged is removed."""
    for path in sorted((cache_folder() / "graphs").glob(f"{_key(model)}-*.onnx")):
        with suppress(OSError):
            if path.stem.rpartition("-")[2] == _digest(path):
                return path
            path.unlink()
    return None


def build_graph(model: Emotion2vec) -> Path:
    """Build the graph of a model, or find what was built in the meantime.

    Args:
        model: on the CPU and in eval mode, not packed.

    Raises:
        CheckpointError: the graph does not compute what the model computes.
        OSError: it cannot be written.
    """
    with _building:
        if (found := find_graph(model)) is not None:
            return found
        logger.warning("building the model's graph for onnxruntime, once; it may take a minute")
        started, key = time.monotonic(), _key(model)
        partial = cache_folder() / "graphs" / f".{key}.{os.getpid()}.onnx"
        difference = write_network(model, partial).difference
        # The name holds the digest, so that a file is whole or is not used, whichever process wrote it.
        path = partial.with_name(f"{key}-{_digest(partial)}.onnx")
        publish(partial, path)
        seconds = time.monotonic() - started
        logger.warning("built %s in %.0f s; it differs from the network by at most %.1e", path, seconds, difference)
        return path


def _key(model: Emotion2vec) -> str:
    """What a graph depends on: the model, who makes and runs it, and the processor that it was checked on."""
    versions = [_code(), torch.__version__, *(str(library_version(name)) for name in PACKAGES)]
    facts = [weights_hash(model), *versions, processor(), *instruction_sets()]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Hash the code that a graph comes from: in a clone it changes without the package's version."""
    digest, package = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted([*(package / "model").rglob("*.py"), *(package / "exporting").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """Hash a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:32]
