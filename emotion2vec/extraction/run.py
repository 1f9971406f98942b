"""One run over a list of items: what is to be done, what became of it, and the counts of both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.progress import Progress, ProgressCallback
from emotion2vec.extraction.writers import Writer
from emotion2vec.extraction.writers.job import FailureLog
from emotion2vec.extraction.writers.ledger import Ledger

if TYPE_CHECKING:
    from emotion2vec.extraction.executor import Executor
    from emotion2vec.extraction.outcomes import Outcome


@dataclass
class ExtractionReport:
    """What became of a list of audio.

    Attributes:
        written: items whose features were written.
        skipped: items whose features were there already.
        redone: written items whose features were there, but of other audio than the items have now.
        seconds: audio of the written items, in s.
        frames: frames of the written items.
        failed: everything that could not be extracted, with the reason.
        precision: what was computed in.
        backend: what computed: `torch`, or `onnx` for onnxruntime.
        changes: items that were found otherwise than they were named.
        notes: what was done to audio on the way, by kind.
        passed_over: files of folders that are no audio by their endings, by those.
    """

    written: int = 0
    skipped: int = 0
    seconds: float = 0.0
    frames: int = 0
    failed: list[Fault] = field(default_factory=list)
    precision: str = "fp32"
    backend: str = "torch"
    redone: int = 0
    changes: list[Change] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    @classmethod
    def by(cls, executor: Executor) -> ExtractionReport:
        """An empty report of what an executor is going to do."""
        return cls(precision=executor.precision, backend="torch" if executor.graph is None else "onnx")

    @property
    def summary(self) -> Summary:
        """The counts of all inputs."""
        found = self.written + self.skipped + len(self.failed)
        changed = Counter(self.notes) + Counter({"done anew": self.redone})
        counts = {"changed": changed, "passed_over": self.passed_over}
        summary = Summary(found=found, done=self.written, there=self.skipped, **counts)
        summary.change(self.changes)
        summary.leave_out(self.failed)
        return summary

    @property
    def exit_code(self) -> int:
        """What a command should exit with: 0 all done, 1 some inputs failed, 2 nothing could be extracted."""
        if not self.failed:
            return 0
        return 1 if self.written + self.skipped else 2


class Job:
    """One run over a list of items: every one ends as written, skipped or failed.

    Args:
        writer: takes the features.
        log: takes the failures too.
        report: is filled.
        ledger: takes what features were made from, and tells it.
    """

    def __init__(self, writer: Writer, log: FailureLog | None, report: ExtractionReport, ledger: Ledger | None = None):
        self.report = report
        self._ledger = ledger
        self._writer = writer
        self._log = log

    def begin(self, found: Listing) -> None:
        """Note what of the sources could not be used, and what was found otherwise than it was named."""
        for fault in found.faults:
            self.fail(fault)
        self.report.changes += found.changes
        self.report.passed_over += found.left_out

    def fail(self, fault: Fault) -> None:
        """Note that something could not be extracted."""
        self.report.failed.append(fault)
        if self._log is not None:
            self._log.add(fault)

    def plan(self, items: list[Utterance], resume: bool) -> list[Utterance]:
        """Choose what to extract; unsafe and colliding ids fail, and to resume, what is there already is skipped."""
        todo: list[Utterance] = []
        stale: list[Utterance] = []
        taken: dict[str, Utterance] = {}
        folders: dict[str, Utterance] = {}
        for item in items:
            try:
                targets = self._writer.targets(item)
            except ManifestError as error:
                self.fail(Fault(str(item.audio), str(error)))
                continue
            if (clash := next((target for target in targets if target in taken), None)) is not None:
                self.fail(Fault(str(item.audio), f"would overwrite {clash}, the output of {taken[clash].audio}"))
                continue
            above = {folder for target in targets for folder in _folders(target)} if self._writer.nested else set()
            if inside := sorted((above & taken.keys()) | (set(targets) & folders.keys())):
                other = taken.get(inside[0]) or folders[inside[0]]
                reason = f"the id {item.id!r} and that of {other.audio}, {other.id!r}, cannot be held together"
                self.fail(Fault(str(item.audio), f"{reason}: {inside[0]} would be a folder and hold features too"))
                continue
            taken.update(dict.fromkeys(targets, item))
            folders.update(dict.fromkeys(above, item))
            there = resume and self._writer.has(item)
            if there and (self._ledger is None or self._ledger.matches(item)):
                self.report.skipped += 1
                continue
            todo.append(item)
            stale += [item] * there
        self._writer.remove(stale)
        self.report.redone = len(stale)
        if self._ledger is not None:
            for item in todo:
                self._ledger.begin(item)
        return todo

    def run(
        self, outcomes: Generator[Outcome, None, None], todo: list[Utterance], callback: ProgressCallback | None
    ) -> None:
        """Take what becomes of the items, until there is nothing left to do."""
        started, failed = time.monotonic(), 0
        report = self.report
        with closing(outcomes):
            for outcome in outcomes:
                if outcome.reason is None:
                    report.written += 1
                    report.notes.update({note.kind for note in outcome.notes})
                    if self._ledger is not None:  # again, where the one of a process elsewhere has it
                        self._ledger.add(todo[outcome.index])
                    report.seconds += outcome.seconds
                    report.frames += outcome.frames
                else:
                    failed += 1
                    self.fail(Fault(todo[outcome.index].where, outcome.reason))
                if callback is not None:
                    elapsed = time.monotonic() - started
                    callback(Progress(failed + report.written, len(todo), failed, report.seconds, elapsed))


def _folders(target: str) -> list[str]:
    """All folders that a path lies in."""
    parts = target.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
