"""Corpora × features × heads: every combination probed once, kept on disk, and reported while the run goes on.

What combinations share is made once: networks are opened, a corpus is divided and examined, and a feature's table and
picture are made when the first combination that is not done yet needs them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.devices import choose_device
from emotion2vec.disk import FULL, quoted
from emotion2vec.errors import ConfigError, Emotion2vecError
from emotion2vec.files import check_folder_name
from emotion2vec.probe.benchmark.corpora import corpus_digest, read_planned
from emotion2vec.probe.benchmark.loading import heads_of
from emotion2vec.probe.benchmark.plan import BenchmarkPlan, CorpusPlan, FeaturePlan
from emotion2vec.probe.benchmark.results import BenchmarkResult, Combination, Failure
from emotion2vec.probe.corpus import ProbedCorpus, prepare_corpus
from emotion2vec.probe.embedding import Embedding, embed
from emotion2vec.probe.features.names import OpenedFeature, open_feature, reads_text
from emotion2vec.probe.features.table import check_texts
from emotion2vec.probe.heads import HEADS
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.run import FeatureTables, judge
from emotion2vec.version import PROBED_WITH, versions

logger = logging.getLogger(__name__)

RESULT_FORMAT = 3
"""Raised when the documents of results get other entries, so that older ones are computed anew."""

REPORT_REST = 9
"""While a benchmark runs no report is written for this many times what the last one took: hundreds of results take
seconds, and all reports a tenth of the run at most."""

Thing = TypeVar("Thing")


class Once(Generic[Thing]):
    """Something that is made when it is first asked for, and never again; what failed fails again the same way."""

    def __init__(self, make: Callable[[], Thing]):
        self._make = make
        self._made: list[Thing] = []
        self._error: Exception | None = None

    def __call__(self) -> Thing:
        """The thing, or the error that making it raised."""
        if self._error is not None:
            raise self._error
        if not self._made:
            try:
                self._made.append(self._make())
            except Exception as error:
                self._error = error
                raise
        return self._made[0]


class _Reports:
    """Has the report written while a run goes on, so that one that is killed has told what was done."""

    def __init__(self, result: BenchmarkResult, write: Callable[[BenchmarkResult], None]):
        self._result, self._write = result, write
        self._due = 0.0

    def write(self) -> None:
        begin = time.monotonic()
        self._write(self._result)
        end = time.monotonic()
        self._due = end + REPORT_REST * (end - begin)

    def keep_up(self) -> None:
        """Write it if there are results and the last one is long enough ago."""
        if self._result.combinations and time.monotonic() >= self._due:
            self.write()


def run_benchmark(
    plan: BenchmarkPlan, report: Callable[[BenchmarkResult], None], progress: bool = False
) -> BenchmarkResult:
    """Probe every combination of a plan that is not done yet.

    Results lie in `output/results`, one file per combination; a later run with the same corpus contents, features,
    settings and versions takes them from there. A corpus or feature that fails is reported, and the others are done.

    Args:
        plan: what to do.
        report: writes the report of what is there so far; called now and then, and at the end.
        progress: show progress bars.

    Raises:
        ConfigError: the output folder cannot be written.
        OSError: the disk takes nothing more; the results before are there.
    """
    output = Path(plan.output)
    check_folder_name(output, "output", "a benchmark")
    try:
        (output / "results").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output {output}: cannot be made: {error.strerror}") from error
    run = _Run(plan, progress)
    reports = _Reports(run.result, report)
    for corpus in plan.corpora:
        run.probe_corpus(corpus, reports)
    reports.write()
    return run.result


class _Run:
    """A run of a plan, with what its combinations share.

    Attributes:
        result: what is done so far.
    """

    plan: BenchmarkPlan

    def __init__(self, plan: BenchmarkPlan, progress: bool):
        self.plan, self.progress = plan, progress
        self.result = BenchmarkResult()
        self.device = Once(lambda: str(choose_device(plan.device)))
        opened: dict[str, OpenedFeature] = {}
        self.opened = {feature.name: Once(partial(self._open, feature.name, opened)) for feature in plan.features}

    def _open(self, name: str, opened: dict[str, OpenedFeature]) -> OpenedFeature:
        return open_feature(name, device=self.device(), opened=opened)

    def probe_corpus(self, corpus: CorpusPlan, reports: _Reports) -> None:
        """Probe all features of a corpus, and note what fails."""
        try:
            clipset = read_planned(self.plan, corpus)
        except Emotion2vecError as error:
            self.result.failures.append(Failure(corpus.name, "", str(error)))
            return
        features = self._with_texts(corpus, clipset)
        on = _OnCorpus(self, corpus, clipset)
        for feature in features:
            try:
                for combination, is_new in on.combinations(feature, reports):
                    self.result.combinations.append(combination)  # at once: those before a head that fails are kept
                    if is_new:
                        reports.keep_up()
            except Exception as error:  # hours of other combinations must not be lost with one
                if quoted(error) in FULL:
                    raise
                known = isinstance(error, Emotion2vecError)
                reason = str(error) if known else f"unexpected {type(error).__name__}: {error}"
                self.result.failures.append(Failure(corpus.name, feature.label, reason))
                if not known:
                    logger.exception("%s, %s", corpus.name, feature.label)

    def _with_texts(self, corpus: CorpusPlan, clipset: Corpus) -> list[FeaturePlan]:
        """The features that the corpus has all texts for; the others fail now and not hours later."""
        features = []
        for feature in self.plan.features:
            try:
                if reads_text(feature.name):
                    check_texts(clipset.utterances, feature.name)
            except Emotion2vecError as error:
                self.result.failures.append(Failure(corpus.name, feature.label, str(error)))
            else:
                features.append(feature)
        return features


@dataclass
class _OnCorpus:
    """The combinations of one corpus."""

    run: _Run
    corpus: CorpusPlan
    clipset: Corpus
    said: set[str] = field(default_factory=set)
    """Warnings that were heard, which are the same for every head."""

    def __post_init__(self) -> None:
        plan, corpus = self.run.plan, self.corpus
        self.cache = plan.cache or Path(plan.output) / "features"
        self.digest = corpus_digest(self.clipset, self.cache)
        self.prepared: Once[ProbedCorpus] = Once(
            lambda: prepare_corpus(
                self.clipset, corpus.folds, targets=corpus.targets, context=corpus.context, cache=self.cache
            )
        )

    def combinations(self, feature: FeaturePlan, reports: _Reports) -> Iterator[tuple[Combination, bool]]:
        """Yield what is done of a feature head by head, and whether it was done now and not on disk already."""
        plan, corpus = self.run.plan, self.corpus
        options = ProbeOptions(
            targets=corpus.targets,
            context=corpus.context,
            folds=corpus.folds,
            seeds=plan.seeds,
            layer=feature.layer,
            pooling=feature.pooling,
            standardize=plan.standardize,
            cache=self.cache,
            device=self.run.device(),
            progress=self.run.progress,
        )
        tables = FeatureTables(self.clipset, self.run.opened[feature.name](), options)
        picture = Once(lambda: embed(self.clipset, tables.extractor, self.cache, self.run.progress, corpus.targets))
        for head in heads_of(corpus, feature, plan.heads):
            request = self._request(tables.extractor.fingerprint, head)
            key = hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=12).hexdigest()
            path = Path(plan.output) / "results" / f"{key}.json"
            names = {"title": corpus.name, "feature": feature.label}
            done = Combination.read(path, request=request, **names)
            if done is not None:
                yield done, False
                continue
            reports.keep_up()  # with what came from disk: this may take hours
            combination = self._probe(head, tables, picture, options, {"request": request, **names})
            combination.write(path)
            yield combination, True

    def _request(self, fingerprint: str, head: str) -> dict[str, Any]:
        """What a result is of, by content."""
        plan, corpus = self.run.plan, self.corpus
        return {
            "format": RESULT_FORMAT,
            "corpus": self.digest,
            "fingerprint": fingerprint,
            "folds": corpus.folds,
            "targets": list(corpus.targets),
            "context": corpus.context,
            "head": head,
            "seeds": list(plan.seeds),
            "standardize": plan.standardize,
            "versions": versions(*PROBED_WITH),
        }

    def _probe(
        self,
        head: str,
        tables: FeatureTables,
        picture: Once[Embedding],
        options: ProbeOptions,
        named: dict[str, Any],
    ) -> Combination:
        probed = judge(self.prepared(), [tables], [HEADS[head]], options)
        for warning in probed.about.warnings:
            if warning not in self.said:
                logger.warning("%s: %s", self.corpus.name, warning)
                self.said.add(warning)
        return Combination(about=probed.about, scores=probed.results[0], embedding=picture(), **named)
