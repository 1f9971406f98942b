"""What a prepared corpus holds: counted while it is written, and read again from its summary."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.summary import Summary
from emotion2vec.data.shard_writer import ShardSummary
from emotion2vec.data.shards import FORMAT, FORMAT_VERSION, SUMMARY_FILE

FAULTS_FILE = "faults.tsv"


@dataclass
class PrepareReport:
    """What a prepared corpus holds.

    Attributes:
        utterances: how many there are.
        shards: how many shards they are in.
        seconds: audio, in s.
        size: bytes of audio that were copied.
        rates: utterances by the sample rate of their file, in Hz.
        channels: utterances by the channels of their file.
        faults: entries that cannot be used.
        resumed: shards that an interrupted preparation had completed.
        notes: utterances whose audio something is to be said of, by kind; see `emotion2vec.audio.decode.notes`.
        changed: entries that are used otherwise than they were listed, by what was done.
        changes: the same one by one, in the preparation that made the corpus.
        passed_over: files of folders that are no audio by their endings, by those.
    """

    utterances: int = 0
    shards: int = 0
    seconds: float = 0.0
    size: int = 0
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    resumed: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def summary(self) -> Summary:
        """The counts of all entries."""
        changed = self.changed + self.notes
        found = self.utterances + len(self.faults)
        summary = Summary(found, self.utterances, changed=changed, passed_over=self.passed_over)
        summary.leave_out(self.faults)
        return summary

    def add(self, summary: ShardSummary) -> None:
        """Count what a shard holds."""
        self.utterances += len(summary.seconds)
        self.shards += 1
        self.seconds += sum(summary.seconds)
        self.size += summary.size
        self.rates += summary.rates
        self.channels += summary.channels
        self.faults += summary.faults
        self.notes += summary.notes

    def written(self, plan: dict[str, Any], counts: Sequence[int]) -> str:
        """The summary that makes a folder a prepared corpus.

        Args:
            plan: what decided the shards.
            counts: utterances of each shard.
        """
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "audio": plan["audio"],
            "utterances": self.utterances,
            "seconds": self.seconds,
            "size": self.size,
            "rates": self.rates,
            "channels": self.channels,
            "notes": self.notes,
            "changed": self.changed,
            "summary": self.summary.to_dict(),
            "plan": plan,
            "counts": counts,
        }
        return json.dumps(values)

    def fault_lines(self) -> str:
        """The faults as a table."""
        lines = ["\t".join(_on_one_line(part) for part in (fault.where, fault.reason)) for fault in self.faults]
        return "".join(f"{line}\n" for line in ["where\treason", *lines])


def _on_one_line(text: str) -> str:
    """Text as one field of a line; bytes that are no Unicode are written with escapes."""
    return re.sub(r"[\t\n\r]", " ", text.encode("utf-8", "backslashreplace").decode("utf-8"))


def read_report(folder: Path) -> PrepareReport:
    """What a complete preparation holds."""
    values = json.loads((folder / SUMMARY_FILE).read_bytes())
    faults = (folder / FAULTS_FILE).read_text(encoding="utf-8").split("\n")[1:-1]
    return PrepareReport(
        utterances=values["utterances"],
        shards=len(values["counts"]),
        seconds=values["seconds"],
        size=values["size"],
        rates=Counter({int(rate): count for rate, count in values["rates"].items()}),
        channels=Counter({int(channels): count for channels, count in values["channels"].items()}),
        notes=Counter(values["notes"]),
        faults=[Fault(*line.split("\t", 1)) for line in faults],
        changed=Counter(values["changed"]),
        passed_over=Counter(values["summary"]["passed_over"]),
    )
