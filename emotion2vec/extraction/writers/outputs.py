"""Everything that an extraction writes to, opened together and completed in the right order."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import EncodedAudio, Layout
from emotion2vec.extraction.writers import Writer, open_writer, output_folder
from emotion2vec.extraction.writers.job import FailureLog
from emotion2vec.extraction.writers.ledger import Ledger
from emotion2vec.extraction.writers.vectors import VectorsWriter
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.stopping import finishing


@dataclass(frozen=True)
class Recorded:
    """Features into files, and into the ledger what they were made from.

    Attributes:
        writer: takes features.
        ledger: takes what they were made from.
        measures: whether items are written with the start and duration of their audio.
    """

    writer: Writer
    ledger: Ledger
    measures: bool = field(default=False, kw_only=True)

    @property
    def in_order(self) -> bool:
        """Whether items must come in the order of the job's list: where a file holds many."""
        return not self.writer.separate

    def write(self, item: Utterance, encoded: EncodedAudio) -> None:
        """Write the features of one item, and note that they were written; see `Writer`."""
        whole = replace(item, start=item.start or 0.0, duration=encoded.seconds) if self.measures else item
        self.writer.write(whole, encoded.features)
        self.ledger.add(item)


@dataclass(frozen=True)
class Plan:
    """What is to be done of a list of items.

    Attributes:
        todo: items to extract.
        skipped: items whose features are there.
        redone: items of `todo` whose features were there, but of other audio.
        faults: items that cannot be written.
    """

    todo: list[Utterance]
    skipped: int
    redone: int
    faults: list[Fault]


@dataclass(frozen=True)
class Outputs(Recorded):
    """All that a job writes to.

    Attributes:
        log: takes failures.
        format: of the features.
        layout: of the features.
    """

    log: FailureLog
    format: str
    layout: Layout

    def writer_elsewhere(self, folder: Path) -> Writer | None:
        """A writer for other processes, which know the folder by this name; None when features must travel to this."""
        return open_writer(self.format, folder, self.layout) if self.writer.separate else None

    def plan(self, items: Iterable[Utterance], resume: bool) -> Plan:
        """Choose what to extract; unsafe and colliding ids fail, and to resume, what is there already is skipped."""
        todo: list[Utterance] = []
        stale: list[Utterance] = []
        faults: list[Fault] = []
        taken: dict[str, Utterance] = {}
        folders: dict[str, Utterance] = {}
        skipped = 0
        for item in items:
            try:
                targets = self.writer.targets(item)
                above = {folder for target in targets for folder in _folders(target)} if self.writer.nested else set()
                if self.writer.separate:
                    _check_own(item, targets, above)
                _check_free(item, targets, above, taken, folders)
            except ManifestError as error:
                faults.append(Fault(str(item.audio), str(error)))
                continue
            taken.update(dict.fromkeys(targets, item))
            folders.update(dict.fromkeys(above, item))
            there = resume and self.writer.has(item)
            if there and self.ledger.matches(item):
                skipped += 1
                continue
            todo.append(item)
            stale += [item] * there
        self.writer.remove(stale)
        for item in todo:
            self.ledger.begin(item)
        return Plan(todo, skipped, len(stale), faults)


_OWN = re.compile(r"(job\.json|(failed|inputs)(-\d+-of-\d+)?\.jsonl)", re.IGNORECASE)
"""What jobs write beside features; disks may not tell upper and lower case apart."""


def _check_own(item: Utterance, targets: Iterable[str], above: Iterable[str]) -> None:
    """See to it that an item's files do not lie where a job has its own.

    Raises:
        ManifestError: they do.
    """
    if own := next((path for path in (*targets, *above) if _OWN.fullmatch(path)), None):
        raise ManifestError(f"the id {item.id!r} cannot name an output: {own} is the job's own file")


def _check_free(
    item: Utterance, targets: list[str], above: set[str], taken: dict[str, Utterance], folders: dict[str, Utterance]
) -> None:
    """See to it that an item's targets, which lie in the folders `above`, are no other's.

    Raises:
        ManifestError: they are, or would be a folder of others' too.
    """
    if (clash := next((target for target in targets if target in taken), None)) is not None:
        raise ManifestError(f"would overwrite {clash}, the output of {taken[clash].audio}")
    if inside := sorted((above & taken.keys()) | (set(targets) & folders.keys())):
        other = taken.get(inside[0]) or folders[inside[0]]
        reason = f"the id {item.id!r} and that of {other.audio}, {other.id!r}, cannot be held together"
        raise ManifestError(f"{reason}: {inside[0]} would be a folder and hold features too")


def _folders(target: str) -> list[str]:
    """All folders that a path lies in."""
    parts = target.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@contextmanager
def open_outputs(
    format: str, output: Path, layout: Layout, *, resume: bool = False, tag: str = ""
) -> Iterator[Outputs]:
    """Open everything that a job writes to; origins of features are written when these are complete.

    Args:
        format: of the features.
        output: folder, or for npz the archive's name.
        layout: of the features.
        resume: keep what is there.
        tag: of the shard that the job does, in names of files.

    Raises:
        ConfigError: something cannot be opened or written.
    """
    folder = output_folder(format, output)
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

    def complete() -> None:
        writer.close()
        ledger.commit()

    with finishing(complete, log.close, ledger.close):
        try:
            yield Outputs(writer, ledger, log, format, layout, measures=isinstance(writer, VectorsWriter))
        except ConfigError:  # nothing more can be written
            ledger.discard()
            raise


@contextmanager
def alone(folder: Path, output: Path, tag: str) -> Iterator[None]:
    """Be the only job that writes to an output, or the only one that does this shard of it.

    Args:
        folder: of the output.
        output: folder, or for npz the archive's name.
        tag: of the shard, empty for all.

    Raises:
        ConfigError: another job writes there.
        StorageError: the folder cannot be written to.
    """
    with ExitStack() as stack:
        name = f".{output.stem}{LOCK}" if folder != output else LOCK
        stack.enter_context(only_writer(folder / name, output, shared=bool(tag)))
        if tag:
            stack.enter_context(only_writer(folder / f"{name}{tag}", output))
        yield


def beside(output: Path, name: str) -> str:
    """Name of a file beside the features; those of an archive carry the archive's name."""
    return f"{output.stem}.{name}" if output.suffix.lower() in (".npz", ".csv", ".xlsx") else name
