"""From any list of audio to a prepared corpus: validated, sharded, indexed, in parallel, and taken up where it stopped.

Utterances are shuffled into shards by a fixed key, so that every shard is a sample of the whole corpus and training
mixes speakers while it reads few shards at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.data.config import PrepareOptions
from emotion2vec.data.prepare_progress import PrepareProgress
from emotion2vec.data.prepare_report import FAULTS_FILE, PrepareReport, read_report
from emotion2vec.data.prepare_workers import write_shards
from emotion2vec.data.shard_writer import WORK_FOLDER, read_shard_summary
from emotion2vec.data.shards import INDEX_FILE, SHAR_FOLDER, SUMMARY_FILE
from emotion2vec.data.storage import is_remote
from emotion2vec.errors import ConfigError, ManifestError, StorageError
from emotion2vec.files import check_folder_name, publish, write_text
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.settings import check_ranges, from_keywords

PLANNED = ("id", "audio", "start", "duration", "channel", "label", "speaker")
"""What shards hold of an utterance; the digest of a plan is made of it."""


def prepare(
    source: str | Path,
    output: str | Path,
    *,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
    **options: Any,
) -> PrepareReport:
    """Write a corpus that pretraining reads as a stream; the same call continues an interrupted one.

    Every utterance is decoded once, and what cannot be used is named and left out. Faults are also written to
    `faults.tsv` in the output.

    Args:
        source: what `read_manifest` takes: a file, a folder, or a manifest of any kind.
        output: folder for the corpus, on this machine; new, empty, or of an interrupted preparation.
        progress: show a progress bar if stderr is a terminal.
        on_progress: called with a `Progress` now and then. What it raises ends the call, which may be made again.
        options: the other fields of `PrepareOptions`.

    Raises:
        ConfigError: an argument is wrong, or the output holds something else.
        ManifestError: the source cannot be read, or holds nothing usable.
        StorageError: the output cannot be written.
    """
    chosen: PrepareOptions = from_keywords(PrepareOptions, {"source": source, "output": str(output), **options})
    folder, size = Path(chosen.output), chosen.shard_size
    plan, utterances, manifest = read_plan(chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder / LOCK, folder):
            if _open_output(folder, plan):
                return read_report(folder)
            shards = [utterances[first : first + size] for first in range(0, len(utterances), size)]
            bar = partial(PrepareProgress, len(utterances), progress, on_progress)
            resumed = write_shards(shards, folder, chosen, bar)
            _finish(folder, plan, len(shards), manifest)
            report = read_report(folder)
        report.resumed, report.changes = resumed, manifest.changes
        return report
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}; the same command continues"
        ) from error


class Planned(NamedTuple):
    """What is to be prepared.

    Attributes:
        plan: what decides the shards.
        utterances: in the order of the shards.
        listed: what the source lists.
    """

    plan: dict[str, Any]
    utterances: list[Utterance]
    listed: Listing


def read_plan(options: PrepareOptions) -> Planned:
    """Read the source, and see to it that the output may take it; nothing is written. Errors as for `prepare`."""
    if faults := _faults(options):
        raise ConfigError("; ".join(faults))
    names = Names.of(options.columns, options.labels)
    manifest = read_manifest(options.source, root=None if options.root is None else Path(options.root), names=names)
    names.warn()
    utterances = _in_shard_order(manifest.utterances)
    settings = {"audio": options.audio, "resample": options.resample, "accept_damaged": options.accept_damaged}
    plan = _plan(utterances, **settings, shard_size=options.shard_size)
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output is {folder}, which is a file, expected a folder")
    _check_there(folder, plan)
    return Planned(plan, utterances, manifest)


def _faults(options: PrepareOptions) -> list[str]:
    """What is wrong with the options."""
    check_folder_name(options.output, "output", "a corpus")
    faults = []
    if is_remote(options.output):
        faults.append(
            f"output is {options.output}, expected a folder of this machine: copy it to object storage afterwards"
        )
    for name in ("resample", "accept_damaged"):
        if getattr(options, name) and not options.copy:
            faults.append(f"{name} is on and copy off, expected audio to be copied where it is not taken as it is")
    return faults + check_ranges(options)


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


def _check_there(folder: Path, plan: dict[str, Any]) -> bool | None:
    """Whether a preparation of this plan is complete in a folder; None where there is none.

    Raises:
        ConfigError: the folder holds something else.
    """
    file = folder / WORK_FOLDER / "plan.json"
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
    if folder.is_dir() and any(path.name not in (WORK_FOLDER, LOCK) for path in folder.iterdir()):
        raise ConfigError(f"output {folder} holds other files, expected a new or empty folder")
    return None


def _open_output(folder: Path, plan: dict[str, Any]) -> bool:
    """Make the folders; True if a preparation is complete there. See `_check_there`."""
    complete = _check_there(folder, plan)
    if complete is None:
        (folder / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        write_text(folder / WORK_FOLDER / "plan.json", json.dumps(plan))
    if not complete:
        (folder / SHAR_FOLDER).mkdir(exist_ok=True)
    return bool(complete)


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
    publish(partial, folder / INDEX_FILE)
    for name, text in (
        (FAULTS_FILE, report.fault_lines()),
        (SUMMARY_FILE, report.written(plan, counts)),  # last: the folder is complete
    ):
        partial = work / name
        partial.write_text(text, encoding="utf-8")
        publish(partial, folder / name)
    shutil.rmtree(work)
