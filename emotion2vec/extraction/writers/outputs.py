"""Everything that an extraction writes to, opened together and completed in the right order."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Layout
from emotion2vec.extraction.writers import Writer, open_writer
from emotion2vec.extraction.writers.job import FailureLog
from emotion2vec.extraction.writers.ledger import Ledger, RecordingWriter


@dataclass(frozen=True)
class Outputs:
    """What a job writes to: features, failures, and what features were made from."""

    writer: Writer
    log: FailureLog
    ledger: Ledger


@contextmanager
def open_outputs(
    format: str, output: str | Path, layout: Layout, folder: Path, *, resume: bool, tag: str
) -> Iterator[Outputs]:
    """Open everything that a job writes to; origins of features are written when these are complete.

    Raises:
        ConfigError: something cannot be opened or written.
    """
    with ExitStack() as stack:
        writer = stack.enter_context(closing(open_writer(format, output, layout, resume=resume, tag=tag)))
        log = stack.enter_context(closing(FailureLog(folder / beside(output, f"failed{tag}.jsonl"))))
        ledger = Ledger(
            folder,
            beside(output, f"inputs{tag}.jsonl"),
            glob.escape(beside(output, "inputs")) + "*.jsonl",
            resume=resume,
            at_once=writer.at_once,
            stores_facts=writer.stores_facts,
        )
        stack.pop_all()
    with closing(ledger), closing(log):
        try:
            yield Outputs(RecordingWriter(writer, ledger), log, ledger)
        except ConfigError:  # nothing more can be written
            ledger.discard()
            raise
        finally:
            writer.close()
            ledger.commit()


def beside(output: str | Path, name: str) -> str:
    """Name of a file beside the features; those of an archive carry the archive's name."""
    path = Path(output)
    return f"{path.stem}.{name}" if path.suffix.lower() == ".npz" else name
