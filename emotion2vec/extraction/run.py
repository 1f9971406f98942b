"""One run over a list of items: what became of each, and the counts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from emotion2vec.audio.decode import Note
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.extraction.writers.job import FailureLog
from emotion2vec.extraction.writers.outputs import Plan
from emotion2vec.notebooks import Shown, Table
from emotion2vec.progress import Progress, ProgressCallback
from emotion2vec.stopping import PREEMPTED, Terminated
from emotion2vec.units import duration


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its features were written, or why not.

    Attributes:
        index: place of the item in the job's list.
        seconds: its audio, in s; 0 if it failed.
        frames: its frames; 0 if it failed.
        reason: why it failed; None if its features were written.
        notes: what is to be said of its audio.
    """

    index: int
    seconds: float = 0.0
    frames: int = 0
    reason: str | None = None
    notes: tuple[Note, ...] = ()


@dataclass(repr=False)
class ExtractionReport(Shown):
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
        terminated: SIGTERM came before all was done.
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
    terminated: bool = False

    def _said(self) -> str:
        ended = ", stopped by SIGTERM" * self.terminated
        return f"{self.written:,} written ({duration(self.seconds)}), {len(self.failed):,} failed{ended}"

    def _table(self) -> Table:
        return ("failed", "why"), [[fault.where, fault.reason] for fault in self.failed]

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
        """What a command should exit with: 0 all done, 1 some inputs failed, 2 nothing was extracted, 75 SIGTERM."""
        if self.terminated:
            return PREEMPTED
        if not self.failed:
            return 0
        return 1 if self.written + self.skipped else 2


class Job:
    """One run over a list of items: every one ends as written, skipped or failed.

    Args:
        report: is filled.
        log: takes the failures too.
    """

    def __init__(self, report: ExtractionReport, log: FailureLog | None = None):
        self.report = report
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

    def leave(self, plan: Plan) -> None:
        """Note what of the items is not to be done."""
        for fault in plan.faults:
            self.fail(fault)
        self.report.skipped, self.report.redone = plan.skipped, plan.redone

    def run(
        self, outcomes: Generator[Outcome, None, None], todo: list[Utterance], callback: ProgressCallback | None
    ) -> None:
        """Take what becomes of the items, until there is nothing left to do, or `Terminated` comes."""
        started, failed = time.monotonic(), 0
        report = self.report
        with closing(outcomes), self._until_terminated():
            for outcome in outcomes:
                if outcome.reason is None:
                    report.written += 1
                    report.notes.update({note.kind for note in outcome.notes})
                    report.seconds += outcome.seconds
                    report.frames += outcome.frames
                else:
                    failed += 1
                    self.fail(Fault(todo[outcome.index].where, outcome.reason))
                if callback is not None:
                    elapsed = time.monotonic() - started
                    callback(Progress(failed + report.written, len(todo), failed, report.seconds, elapsed))

    @contextmanager
    def _until_terminated(self) -> Iterator[None]:
        try:
            yield
        except Terminated:
            self.report.terminated = True
