"""Corpora × features × heads: every combination probed once, kept on disk, and reported together."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.corpora.contents import combined_key
from emotion2vec.corpora.joining import Part, join_corpora
from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError, Emotion2vecError, ManifestError
from emotion2vec.files import check_folder_name, write_json
from emotion2vec.probe.benchmark.plan import BenchmarkPlan, CorpusPlan, FeaturePlan, PartPlan, heads_of
from emotion2vec.probe.features.table import check_texts
from emotion2vec.probe.probing import logger as probing_logger
from emotion2vec.probe.probing import probe
from emotion2vec.probe.request import Request
from emotion2vec.version import PROBED_WITH, versions

logger = logging.getLogger(__name__)

RESULT_FORMAT = 3
"""Raised when the documents of results get other entries, so that older ones are computed anew."""

DIGESTED: tuple[str, ...] = (
    "speaker",
    "gender",
    "session",
    "text",
    "sentence",
    "intensity",
    "fold",
    "split",
    "corpus",
    "language",
)
DIGESTED += ("values", "dialogue", "turn")
"""What a result on disk depends on beside the audio, the files' names and labels."""

REPORT_REST = 9
"""While a benchmark runs no report is written for this many times what the last one took: hundreds of results take
seconds, and all reports a tenth of the run at most."""


@dataclass
class BenchmarkResult:
    """What became of a benchmark.

    Attributes:
        documents: one JSON document of `probe` per corpus, feature and head, with `title`, `feature` and `embedding`.
        failures: what could not be done, and why.
    """

    documents: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def summary(self) -> Summary:
        """Counts of combinations of corpus, feature and head."""
        summary = Summary(len(self.documents) + len(self.failures), len(self.documents))
        summary.leave_out(failure["reason"] for failure in self.failures)
        if incomplete := sum(not document["complete"] for document in self.documents):
            summary.changed["without some of their clips"] = incomplete
        return summary

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some combinations failed or are incomplete, 2 none could be done."""
        if not self.documents:
            return 2
        return 1 if self.failures or not all(document["complete"] for document in self.documents) else 0


class _Reports:
    """Writes the report while a run goes on, so that one that is killed has told what was done."""

    def __init__(self, plan: BenchmarkPlan, result: BenchmarkResult, command: str):
        self._plan, self._result, self._command = plan, result, command
        self._due = 0.0

    def write(self) -> None:
        from emotion2vec.report.page import write_report

        begin = time.monotonic()
        write_report(self._plan, self._result.documents, self._result.failures, self._command)
        end = time.monotonic()
        self._due = end + REPORT_REST * (end - begin)

    def keep_up(self) -> None:
        """Write it if there are results and the last one is long enough ago."""
        if self._result.documents and time.monotonic() >= self._due:
            self.write()


def run_benchmark(plan: BenchmarkPlan, command: str = "", progress: bool = False) -> BenchmarkResult:
    """Probe every combination of a plan that is not done yet, and write tables and the report.

    Results lie in `output/results`, one file per combination; a later run with the same corpus contents, features,
    settings and versions takes them from there. A corpus or feature that fails is reported, and the others are done.

    Args:
        plan: what to do.
        command: how to reproduce it, for the report.
        progress: show progress bars.

    Raises:
        ConfigError: the output folder cannot be written.
    """
    output = Path(plan.output)
    check_folder_name(output, "output", "a benchmark")
    try:
        (output / "results").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output {output}: cannot be made: {error.strerror}") from error
    result = BenchmarkResult()
    reports = _Reports(plan, result, command)
    for corpus in plan.corpora:
        try:
            clipset = read_planned(plan, corpus)
        except Emotion2vecError as error:
            result.failures.append({"corpus": corpus.name, "feature": "", "reason": str(error)})
            continue
        features = _with_texts(plan, corpus, clipset, result)
        digest = _corpus_digest(clipset, _cache(plan))
        with _warnings_once(corpus.name):
            for feature in features:
                try:
                    for document in _probe_feature(plan, corpus, clipset, feature, digest, progress, reports):
                        result.documents.append(document)  # one by one: those before a head that fails are kept
                except Exception as error:  # hours of other combinations must not be lost with one
                    known = isinstance(error, Emotion2vecError)
                    reason = str(error) if known else f"unexpected {type(error).__name__}: {error}"
                    result.failures.append({"corpus": corpus.name, "feature": feature.label, "reason": reason})
                    if not known:
                        logger.exception("%s, %s", corpus.name, feature.label)
    reports.write()
    return result


def _with_texts(plan: BenchmarkPlan, corpus: CorpusPlan, clipset: Corpus, result: BenchmarkResult) -> list[FeaturePlan]:
    """The features that the corpus has all texts for; the others fail now and not hours later."""
    from emotion2vec.probe.features.names import reads_text

    features = []
    for feature in plan.features:
        try:
            if reads_text(feature.name):
                check_texts(clipset.utterances, feature.name)
        except ManifestError as error:
            result.failures.append({"corpus": corpus.name, "feature": feature.label, "reason": str(error)})
        else:
            features.append(feature)
    return features


@contextmanager
def _warnings_once(corpus: str) -> Iterator[None]:
    """Let a probe's warnings about a corpus be heard once, with its name, and not for every feature and head."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        record.msg, record.args = f"{corpus}: {message}", ()
        return new

    probing_logger.addFilter(is_new)
    try:
        yield
    finally:
        probing_logger.removeFilter(is_new)


def read_planned(plan: BenchmarkPlan, corpus: CorpusPlan) -> Corpus:
    """Read a corpus of a plan, or join its parts; paths start at the plan's `data`.

    Raises:
        ConfigError: see `Request` and `join_corpora`.
        ManifestError: a corpus cannot be read.
    """
    if not corpus.parts:
        request = _located(plan, corpus, targets=corpus.targets, context=corpus.context)
        unused = ["classes are given without parts, expected corpora to join"] if corpus.classes else []
        _raise(corpus.name, request.faults + unused)
        return request.read()
    alone = {"dataset", "table", "emobox", "root", "targets", "context"}
    faults = [f"parts and {name} are given, expected one of them" for name in sorted(alone) if getattr(corpus, name)]
    requests = [_located(plan, part) for part in corpus.parts]
    faults += [
        f"{part.name}: {fault}" for part, item in zip(corpus.parts, requests, strict=True) for fault in item.faults
    ]
    _raise(corpus.name, faults)
    parts = [
        Part(
            name=part.name,
            corpus=request.read(),
            language=part.language,
            split=part.split,
            labels=part.labels,
            only=Path(plan.data) / part.only if part.only else None,
        )
        for part, request in zip(corpus.parts, requests, strict=True)
    ]
    return join_corpora(parts, corpus.name, corpus.classes)


def _raise(name: str, faults: list[str]) -> None:
    if faults:
        raise ConfigError(f"{name}: " + "; ".join(faults))


def _located(plan: BenchmarkPlan, source: CorpusPlan | PartPlan, **wanted: Any) -> Request:
    """The request for a corpus, paths joined to the plan's `data`."""
    paths = {name: getattr(source, name) for name in ("table", "emobox", "root")}
    found = {name: Path(plan.data) / path for name, path in paths.items() if path}
    return Request(corpus=CorpusOptions(dataset=source.dataset, **found), **wanted)


def _cache(plan: BenchmarkPlan) -> str | Path:
    return plan.cache or Path(plan.output) / "features"


def _corpus_digest(clipset: Corpus, cache: str | Path) -> str:
    """Hash of the clips, what is said about them, and their audio."""
    facts = [[clip.file, clip.label or "", *(getattr(clip, name) for name in DIGESTED)] for clip in clipset.utterances]
    audio = combined_key((clip.path for clip in clipset.utterances), cache)
    described = repr(facts) + repr(clipset.splits) + repr(clipset.mapping)
    return hashlib.blake2b((described + audio).encode(), digest_size=12).hexdigest()


def _probe_feature(
    plan: BenchmarkPlan,
    corpus: CorpusPlan,
    clipset: Corpus,
    feature: FeaturePlan,
    digest: str,
    progress: bool,
    reports: _Reports,
) -> Iterator[dict[str, Any]]:
    """Yield the documents of one feature on one corpus head by head, from disk or probed now, and report these."""
    from emotion2vec.devices import choose_device
    from emotion2vec.probe.features.names import make_extractor
    from emotion2vec.report.embedding import embed

    device = str(choose_device(plan.device))
    extractor = make_extractor(feature.name, layer=feature.layer, pooling=feature.pooling, device=device)
    cache = _cache(plan)
    for head in heads_of(corpus, feature, plan.heads):
        request = {
            "format": RESULT_FORMAT,
            "corpus": digest,
            "fingerprint": extractor.fingerprint,
            "folds": corpus.folds,
            "targets": list(corpus.targets),
            "context": corpus.context,
            "head": head,
            "seeds": list(plan.seeds),
            "standardize": plan.standardize,
            "versions": versions(*PROBED_WITH),
        }
        key = hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=12).hexdigest()
        path = Path(plan.output) / "results" / f"{key}.json"
        document = _read_document(path, request)
        is_new = document is None
        if document is None:
            reports.keep_up()  # with what came from disk: this may take hours
            found = probe(
                clips=clipset,
                targets=corpus.targets,
                context=corpus.context,
                features=[feature.name],
                folds=corpus.folds,
                heads=[head],
                seeds=plan.seeds,
                layer=feature.layer,
                pooling=feature.pooling,
                standardize=plan.standardize,
                cache=cache,
                device=device,
                progress=progress,
            )
            embedding = embed(clipset, extractor, cache, progress, targets=corpus.targets)
            document = {**found.to_dict(), "request": request, "embedding": embedding}
            write_json(path, document)
        yield {**document, "title": corpus.name, "feature": feature.label}
        if is_new:
            reports.keep_up()


def _read_document(path: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """A finished result of exactly this request, or None."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("request") == request else None
