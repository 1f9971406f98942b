"""A job on a Ray cluster, by Ray Data: tasks that decode on CPUs -> actors that hold the model -> outcomes.

Files are written by the actor that made them where a format has a file per item; otherwise the features travel to this
process, which alone may write to such a file. A process that dies is replaced and its block done again; what is lost
more often than that is tried once more, item by item, so that one file that kills its process fails alone.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from emotion2vec.checkpoint import load_model
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.devices import choose_device
from emotion2vec.environment import variables
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.ready import check_model, choose_precision
from emotion2vec.extraction.encode.spool import Spool
from emotion2vec.extraction.encode.turns import in_turn
from emotion2vec.extraction.options import ExecutorOptions
from emotion2vec.extraction.pipeline import write_item
from emotion2vec.extraction.ray.worker import (
    Assignment,
    DecodeItems,
    EncodeClips,
    blocks_of,
    pack_items,
    unpack_result,
)
from emotion2vec.extraction.run import Outcome
from emotion2vec.extraction.sources.decoding import Hearing
from emotion2vec.extraction.writers.outputs import Outputs
from emotion2vec.model.speech import SpeechEncoder

CPU_BLOCK, GPU_BLOCK = 32, 256
"""Items that one task decodes and one call of an actor encodes: what is done again when a process dies."""

RETRIES = 3
"""How often a block is given to another process when one dies."""

DECODE_SHARE = 0.1
"""Share of a CPU that decoding gets where the model needs the rest of it."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_USAGE_DISABLED": "1", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing is reported to anybody; and Ray's core warns of what Ray Data does with every actor."""


@dataclass(frozen=True)
class Shares:
    """How a cluster is shared out.

    Attributes:
        device: `cpu` or `cuda`.
        actors: processes that hold the model.
        actor: what Ray reserves for each.
        decode_cpus: CPUs that Ray reserves for each task that decodes.
        block: items that one task decodes.
    """

    device: str
    actors: int
    actor: dict[str, float]
    decode_cpus: float
    block: int


def share_out(resources: Mapping[str, float], device: str | None, actors: int | None) -> Shares:
    """Share a cluster out: an actor per GPU and a decoding task per CPU, or on each CPU one of both.

    Args:
        resources: CPUs and GPUs of the cluster, as Ray counts them.
        device: `cpu`, `cuda`, or `auto` or None for GPUs if there are any.
        actors: how many; None for all that fit.

    Raises:
        ConfigError: GPUs are asked for, and there are none.
    """
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    if device == "cpu" or (device != "cuda" and gpus == 0):
        cpu_share = {"num_cpus": 1 - DECODE_SHARE, "num_gpus": 0}
        return Shares("cpu", actors or max(1, cpus), cpu_share, DECODE_SHARE, CPU_BLOCK)
    if gpus == 0 and actors is None:
        raise ConfigError("device is 'cuda', but the cluster has no GPU; actors=N waits for N of them to be added")
    return Shares("cuda", actors or gpus, {"num_cpus": 0, "num_gpus": 1}, 1, GPU_BLOCK)


@contextmanager
def ray_executor(model: str | Path | SpeechEncoder, options: ExecutorOptions) -> Iterator[RayExecutor]:
    """Load a model on this machine, and connect to the cluster that it shall be sent to.

    Raises:
        ConfigError: `model` is neither a path nor a model, the package is missing, or the cluster cannot be reached or
            has no such device.
        CheckpointError: the model cannot be loaded.
    """
    check_model(model)
    network = load_model(model, device="cpu") if isinstance(model, str | Path) else copy.deepcopy(model).cpu()
    with _connected(options.ray_address) as ray:
        shares = share_out(ray.cluster_resources(), options.device, options.actors)
        precision = options.precision
        if precision in ("auto", "int8"):  # the hardware of the actors counts, not that of this process
            choose = ray.remote(_choose_precision).options(**shares.actor)
            precision = ray.get(choose.remote(precision, network, shares.device))
        yield RayExecutor(network, precision, shares, options)


def _choose_precision(precision: str, network: SpeechEncoder, device: str) -> str:
    return choose_precision(precision, network.to(choose_device(device)).eval())


@dataclass(frozen=True)
class RayExecutor:
    """See `emotion2vec.extraction.executor.Executor`."""

    model: SpeechEncoder
    precision: str
    shares: Shares
    options: ExecutorOptions
    graph: None = None

    def outcomes(
        self, todo: Sequence[Utterance], encoder: Encoder, outputs: Outputs, folder: Path
    ) -> Generator[Outcome, None, None]:
        """See `Executor`."""
        import ray

        folder, reference = folder.absolute(), ray.put(encoder)
        writer, job = outputs.writer_elsewhere(folder), uuid4().hex
        marker = None if writer is None else folder / f".{job}.partial"
        if marker is not None:
            marker.touch()
        work = Assignment(
            partial(ray.get, reference),
            writer,
            folder,
            marker,
            self.shares.device,
            self.precision,
            self.options.batch_seconds,
            f"inputs-{job}-",
        )
        try:
            results: Iterator[Outcome | EncodedAudio] = self._passes(todo, work, encoder)
            for result in in_turn(results, range(len(todo)), Spool(folder)) if writer is None else results:
                if isinstance(result, EncodedAudio):
                    result = write_item(outputs, todo[result.index], result)
                yield result
            outputs.ledger.take_over(sorted(folder.glob(f"{work.ledgers}*.jsonl")))
        finally:
            if marker is not None:
                marker.unlink(missing_ok=True)

    def _passes(
        self, todo: Sequence[Utterance], work: Assignment, encoder: Encoder
    ) -> Iterator[Outcome | EncodedAudio]:
        """All items in blocks, then one by one those that were lost with their processes."""
        left = dict.fromkeys(range(len(todo)))
        for size in (self.shares.block, 1):
            if not left:
                return
            for row in self._rows(todo, list(left), size, work, encoder):
                result = unpack_result(row, encoder.layout)
                if result.index in left:  # else done again after it had been reported
                    del left[result.index]
                    yield result
        for index in left:
            yield Outcome(index, reason=f"the process that worked on it died, {2 * (RETRIES + 1)} times in a row")

    def _rows(
        self, todo: Sequence[Utterance], indices: Sequence[int], size: int, work: Assignment, encoder: Encoder
    ) -> Iterator[Mapping[str, object]]:
        """Run the indexed items through the cluster, and yield rows of outcomes as they are made."""
        import ray.data

        shares, config = self.shares, encoder.model.config
        blocks = [pack_items({index: _findable(todo[index]) for index in block}) for block in blocks_of(indices, size)]
        decode = DecodeItems(Hearing.of(config, encoder.chunking.samples))
        with warnings.catch_warnings():  # there is no other way to bound retries in the versions that we accept
            warnings.filterwarnings("ignore", message=".*ray_remote_args.* is deprecated")
            decoded = ray.data.from_arrow(blocks).map_batches(
                decode,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(self.options.workers),
                num_cpus=shares.decode_cpus,
                max_retries=RETRIES,
            )
            encoded = decoded.map_batches(
                EncodeClips,
                fn_constructor_args=(work,),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(shares.actors, len(blocks))),
                max_task_retries=RETRIES,
                **shares.actor,
            )
        return iter(encoded.iter_rows())


def _findable(item: Utterance) -> Utterance:
    """The item with a path that means the same in another working directory."""
    return replace(item, audio=item.audio.absolute()) if isinstance(item.audio, Path) else item


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster unless this process is connected already, and tell Ray to be quiet.

    Raises:
        ConfigError: the package is missing, or the cluster cannot be reached.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"engine ray needs the package ray: pip install 'emotion2vec[ray]' ({error})") from error
    ours = not ray.is_initialized()
    with variables(**QUIET):
        if ours:
            _start(partial(ray.init, address=address), address)
        context = ray.data.DataContext.get_current()
        # Blocks whose processes died are counted and done again here, and the progress is shown here.
        settings = {"max_errored_blocks": -1, "enable_progress_bars": False, "print_on_execution_start": False}
        before = {name: getattr(context, name) for name in settings}
        try:
            vars(context).update(settings)
            with _quiet("ray.data"):
                yield ray
        finally:
            vars(context).update(before)
            if ours:
                ray.shutdown()


def _start(init: Callable[..., object], address: str | None) -> None:
    try:
        init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises plain ones, such as when a start takes too long
        raise ConfigError(f"ray_address is {address!r}: no cluster can be used there: {error}") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let a logger say nothing: what is lost is done again or reported."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
