"""From any list of audio to a prepared corpus: validated, sharded, indexed, in parallel, and taken up where it stopped.

Utterances are shuffled into shards by a fixed key, so that every shard is a sample of the whole corpus and training
mixes speakers while it reads few shards at a time.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.data.prepare_progress import PrepareProgress
from emotion2vec.data.shard_writer import WORK_FOLDER, ShardOptions, ShardSummary, read_shard_summary, write_shard
from emotion2vec.data.shards import FORMAT, FORMAT_VERSION, INDEX_FILE, SHAR_FOLDER, SUMMARY_FILE
from emotion2vec.data.storage import is_remote
from emotion2vec.errors import ConfigError, ManifestError, StorageError
from emotion2vec.files import check_folder_name, publish, write_text
from emotion2vec.seeding import keyed_seed

FAULTS_FILE = "faults.tsv"

PLANNED = ("id", "audio", "start", "duration", "channel", "label", "speaker")
"""What shards hold of an utterance; the digest of a plan is made of it."""


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


def prepare(
    source: str | Path,
    output: str | Path,
    *,
    root: Path | None = None,
    resample: bool = False,
    copy: bool = True,
    accept_damaged: bool = False,
    shard_size: int = 1000,
    workers: int | None = None,
    progress: bool = False,
) -> PrepareReport:
    """Write a corpus that pretraining reads as a stream; the same call continues an interrupted one.

    Every utterance is decoded once, and what cannot be used is named and left out. Faults are also written to
    `faults.tsv` in the output.

    Args:
        source: what `read_manifest` takes: a file, a folder, or a manifest of any kind.
        output: folder for the corpus, on this machine; new, empty, or of an interrupted preparation.
        root: folder that relative paths in a manifest start from; by default the manifest's own.
        resample: copy everything as 16 kHz mono FLAC; otherwise whole files that libsndfile decodes are copied as they
            are.
        copy: copy the audio into tar shards; otherwise only lines that name the files are written.
        accept_damaged: take what can be decoded of damaged files.
        shard_size: utterances per shard.
        workers: processes that decode; None for one per processor.
        progress: show a progress bar if stderr is a terminal.

    Raises:
        ConfigError: an argument is wrong, or the output holds something else.
        ManifestError: the source cannot be read, or holds nothing usable.
        StorageError: the output cannot be written.
    """
    options = ShardOptions(audio="tar" if copy else "files", resample=resample, accept_damaged=accept_damaged)
    _check(output, options, shard_size=shard_size, workers=workers)
    folder = Path(output)
    manifest = read_manifest(source, root=root)
    utterances = _in_shard_order(manifest.utterances)
    plan = _plan(utterances, **asdict(options), shard_size=shard_size)
    try:
        finished = _open_output(folder, plan)
        if not finished:
            shards = [utterances[first : first + shard_size] for first in range(0, len(utterances), shard_size)]
            pool_size = min(workers or os.cpu_count() or 1, len(shards))
            resumed = _write_shards(shards, folder, options, pool_size, progress)
            _finish(folder, plan, len(shards), manifest)
            report = _report(folder)
            report.resumed, report.changes = resumed, manifest.changes
            return report
        return _report(folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}; the same command continues"
        ) from error


def _check(output: str | Path, options: ShardOptions, *, shard_size: int, workers: int | None) -> None:
    faults = []
    check_folder_name(output, "output", "a corpus")
    if is_remote(str(output)):
        faults.append(f"output is {output}, expected a folder of this machine: copy it to object storage afterwards")
    for name in ("resample", "accept_damaged"):
        if getattr(options, name) and options.audio == "files":
            faults.append(f"{name} is on and copy off, expected audio to be copied where it is not taken as it is")
    if shard_size < 1:
        faults.append(f"shard_size is {shard_size}, expected 1 or more")
    if workers is not None and workers < 1:
        faults.append(f"workers is {workers}, expected 1 or more")
    if faults:
        raise ConfigError("; ".join(faults))


def _in_shard_order(utterances: Sequence[Utterance]) -> list[Utterance]:
    """All utterances in an order that depends on their ids alone, with absolute paths."""
    absolute = [replace(utterance, audio=Path(os.path.abspath(utterance.audio))) for utterance in utterances]
    return sorted(absolute, key=lambda utterance: (keyed_seed("shards", utterance.id), utterance.id))


def _plan(utterances: Sequence[Utterance], **settings: Any) -> dict[str, Any]:
    """What decides the shards; a preparation is only continued by one with the same plan, of unchanged files."""
    digest = hashlib.blake2b(digest_size=16)
    for utterance in utterances:
        facts = ", ".join(f"{name}={getattr(utterance, name)!r}" for name in PLANNED)
        line = f"Utterance({facts}) {_state(utterance.path)}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return {**settings, "listed": len(utterances), "digest": digest.hexdigest()}


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of a file, in ns; None where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _open_output(folder: Path, plan: dict[str, Any]) -> bool:
    """Make the folders, or check that they are of the same preparation; True if that is complete.

    Raises:
        ConfigError: the folder holds something else.
    """
    work, file = folder / WORK_FOLDER, folder / WORK_FOLDER / "plan.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output is {folder}, which is a file, expected a folder")
    complete = (folder / SUMMARY_FILE).is_file()
    if complete or file.is_file():
        there = json.loads((folder / SUMMARY_FILE if complete else file).read_bytes())
        there = there.get("plan") if complete else there
        if there != plan:
            raise ConfigError(
                f"output {folder} was prepared from another list of audio, from files that have changed since, or with "
                "other settings, expected the same ones to continue, or another folder"
            )
        return complete
    if folder.is_dir() and any(path.name != WORK_FOLDER for path in folder.iterdir()):
        raise ConfigError(f"output {folder} holds other files, expected a new or empty folder")
    for path in (folder / SHAR_FOLDER, work):
        path.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(plan))
    return False


def _write_shards(
    shards: Sequence[Sequence[Utterance]], folder: Path, options: ShardOptions, workers: int, progress: bool
) -> int:
    """Write the shards that are not there yet; returns how many were."""
    todo = []
    done = PrepareReport()
    for number in range(len(shards)):
        summary = read_shard_summary(folder, number)
        if summary is None:
            todo.append(number)
        else:
            done.add(summary)
    resumed = len(shards) - len(todo)
    if not todo:
        return resumed
    import lhotse.shar.utils  # noqa: F401  # once, before the workers are forked

    stop, processed = multiprocessing.Event(), multiprocessing.Value("q", done.utterances + len(done.faults))
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(stop, processed))
    futures = [pool.submit(_write_in_worker, number, shards[number], folder, options) for number in todo]
    try:
        with closing(PrepareProgress(sum(map(len, shards)), progress)) as bar:
            _collect(futures, done, lambda: bar.show(processed.value, done.seconds, len(done.faults)))
    except BrokenProcessPool as error:
        raise StorageError(
            f"{folder}: a process that wrote shards was killed (out of memory?); the same command continues"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return resumed


def _collect(futures: Sequence[Future], done: PrepareReport, show: Callable[[], None]) -> None:
    """Count shards as they are finished, and show how far it is in between."""
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            summary = future.result()
            if summary is not None:
                done.add(summary)
        show()


_stop: Event | None = None
_processed: Any = None


def _start_worker(stop: Event, processed: Any) -> None:
    """Leave Ctrl-C to the main process, and end with it even if it is killed."""
    global _stop, _processed
    _stop, _processed = stop, processed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _write_in_worker(
    number: int, utterances: Sequence[Utterance], folder: Path, options: ShardOptions
) -> ShardSummary | None:
    return write_shard(number, utterances, folder, options, _next_or_stop)


def _next_or_stop() -> bool:
    """Count one more utterance, and tell whether to stop."""
    assert _stop is not None
    with _processed.get_lock():
        _processed.value += 1
    return _stop.is_set()


def _finish(folder: Path, plan: dict[str, Any], shards: int, listed: Listing) -> None:
    """Join the shards' indexes, write the summary, and remove what was only needed on the way.

    Raises:
        ManifestError: nothing is usable.
    """
    work = folder / WORK_FOLDER
    report, counts = PrepareReport(faults=list(listed.faults), passed_over=listed.left_out), []
    report.changed.update(change.kind for change in listed.changes)
    partial = work / INDEX_FILE
    with open(partial, "wb") as index:
        for number in range(shards):
            summary = read_shard_summary(folder, number)
            assert summary is not None
            report.add(summary)
            counts.append(len(summary.seconds))
            index.write((work / f"{number:06d}.index").read_bytes())
    if not report.utterances:
        named = "; ".join(str(fault) for fault in report.faults[:5])
        raise ManifestError(f"none of {len(report.faults)} entries can be used: {named}")
    lines = ["\t".join(_on_one_line(part) for part in (fault.where, fault.reason)) for fault in report.faults]
    summary_values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "audio": plan["audio"],
        "utterances": report.utterances,
        "seconds": report.seconds,
        "size": report.size,
        "rates": report.rates,
        "channels": report.channels,
        "notes": report.notes,
        "changed": report.changed,
        "summary": report.summary.to_dict(),
        "plan": plan,
        "counts": counts,
    }
    publish(partial, folder / INDEX_FILE)
    for name, text in (
        (FAULTS_FILE, "".join(f"{line}\n" for line in ["where\treason", *lines])),
        (SUMMARY_FILE, json.dumps(summary_values)),  # last: the folder is complete
    ):
        partial = work / name
        partial.write_text(text, encoding="utf-8")
        publish(partial, folder / name)
    shutil.rmtree(work)


def _on_one_line(text: str) -> str:
    """Text as one field of a line; bytes that are no Unicode are written with escapes."""
    return re.sub(r"[\t\n\r]", " ", text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _report(folder: Path) -> PrepareReport:
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
