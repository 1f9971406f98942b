"""The probe: corpus and folds in, frozen features and heads through them, scores out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.models import choose_device
from emotion2vec.probe.audit import audit
from emotion2vec.probe.corpora import ClipSet, examples, label_counts
from emotion2vec.probe.datasets import read_corpus
from emotion2vec.probe.emobox import read_emobox
from emotion2vec.probe.evaluation import evaluate
from emotion2vec.probe.features import make_extractor
from emotion2vec.probe.folds import make_folds
from emotion2vec.probe.heads import make_heads
from emotion2vec.probe.report import check_writable, versions, write_json
from emotion2vec.probe.store import Extractor, FeatureTable, extract_table
from emotion2vec.probe.stored import StoredFeatures
from emotion2vec.probe.tables import read_class_folders, read_table
from emotion2vec.probe.tasks import Head

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Scores of every feature under every head on the same folds.

    Attributes:
        about: dataset, counts, classes, fold scheme, settings, versions, files left out and warnings.
        results: one mapping per feature and head with `feature`, `head`, `folds` (name, test speakers, number of
            clips, `WA`, `UA`, `WF1`), `mean`, `std`, `pooled`, `seeds`, `confusion` and `minutes`.
    """

    about: dict[str, Any]
    results: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: a single result stands at the top level, several under `results`."""
        if len(self.results) == 1:
            return {**self.about, **self.results[0]}
        return {**self.about, "results": self.results}


def probe(
    *,
    dataset: str | None = None,
    table: str | Path | None = None,
    emobox: str | Path | None = None,
    root: str | Path | None = None,
    features: Sequence[Any] = (),
    model: Any = None,
    folds: str = "speaker",
    heads: Sequence[str | Head] = ("mlp",),
    seeds: Sequence[int] = (0,),
    layer: int | str = "last",
    pooling: str | None = None,
    standardize: bool = True,
    cache: str | Path | None = None,
    device: str | None = None,
    output: str | Path | None = None,
    progress: bool = False,
) -> ProbeResult:
    """Train heads on frozen features, fold by fold, and score them.

    Args:
        dataset: name of a corpus (`dataset_names`), with its folder in `root`; or give `table` or `emobox`, or `root`
            alone for a folder that has one folder per class.
        table: CSV or TSV of labelled clips; `root` is then where its paths start.
        emobox: a corpus's folder of EmoBox's metadata, with its audio in `root`.
        root: folder of the audio.
        features: names such as `logmel` (see `make_extractor`), paths of models, or loaded models.
        model: one more feature: the path of a model, or a loaded one; `untrained` takes its shape.
        folds: fold scheme (see `make_folds`).
        heads: names (`HEADS`) or heads with settings of their own.
        seeds: each gives other validation speakers, weights and batches; scores are means over seeds.
        layer: of networks: `last`, `mean`, `mean:n`, `all` or an index; the head `weighted` reads all.
        pooling: `mean` or `mean+std` over time for clip vectors; by default per feature.
        standardize: give neural heads standardized channels (statistics of the training clips). The paper does not,
            but features of small or untrained networks and spectra have scales on which its learning rates fail,
            which would be a comparison of scales; turn it off for the paper's exact protocol.
        cache: folder that keeps features between runs.
        device: where networks run; by default the GPU if there is one, else the CPU.
        output: JSON file to write.
        progress: show progress bars on stderr.

    Raises:
        ConfigError: names or combinations that are wrong.
        ManifestError: the corpus or table cannot be read, or none of its audio can.
        CheckpointError: a model cannot be loaded.
    """
    wanted = [*features, *([model] if model is not None else [])]
    chosen_heads = make_heads(heads)
    _check_request(dataset, table, emobox, root, wanted, chosen_heads, seeds, layer)
    if output is not None:
        check_writable(output)
    device = str(choose_device(device))
    make = partial(make_extractor, model=model, pooling=pooling, device=device)
    extractors = [make(feature, layer=layer) for feature in wanted]  # all at once: a wrong name must not wait its turn
    clipset = read_clips(dataset=dataset, table=table, emobox=emobox, root=root)
    splits = make_folds(clipset, folds)
    audited = audit(clipset, splits, cache)
    warnings = [*clipset.warnings, *audited["warnings"]]
    left_out = dict(clipset.left_out)

    results = []
    for feature, extractor in zip(wanted, extractors, strict=True):
        tables = {"vectors": extractor, "frames": extractor}
        if any(head.needs == "layers" for head in chosen_heads):
            tables["layers"] = make(feature, layer="all")
        for needs, heads_of_kind in _by_need(chosen_heads):
            found = extract_table(
                clipset.clips, tables[needs], frames=needs == "frames", cache=cache, progress=progress
            )
            left_out.update({clipset.clips[i].file: reason for i, reason in found.failures.items()})
            for head in heads_of_kind:
                _check_table(clipset, tables[needs], found, head)
                scored = evaluate(
                    clipset, found, splits, head, seeds=seeds, standardize=standardize, device=device, progress=progress
                )
                results.append({"feature": extractor.name, **scored})
    if left_out:
        warnings.append(f"{len(left_out)} files cannot be used and are left out: {examples(left_out)}")
    for warning in warnings:
        logger.warning("%s", warning)
    about = {
        **_about(clipset, folds),
        "complete": not left_out,
        "audit": audited,
        "settings": {"layer": layer, "pooling": pooling, "standardize": standardize, "seeds": list(seeds)},
        "device": device,
        "left_out": [{"file": file, "reason": reason} for file, reason in left_out.items()],
        "warnings": warnings,
        "versions": versions(),
    }
    result = ProbeResult(about=about, results=results)
    if output is not None:
        write_json(result.to_dict(), output)
    return result


def read_clips(
    *,
    dataset: str | None = None,
    table: str | Path | None = None,
    emobox: str | Path | None = None,
    root: str | Path | None = None,
) -> ClipSet:
    """Read the labelled clips of a request; see `probe`."""
    if dataset is not None:
        return read_corpus(dataset, root or ".")
    if emobox is not None:
        return read_emobox(emobox, root or ".")
    return read_class_folders(root or ".") if table is None else read_table(table, root)


def _by_need(heads: Sequence[Head]) -> list[tuple[str, list[Head]]]:
    """Heads by what they read, so that one table at a time is in memory, in the order of their first."""
    needs = list(dict.fromkeys(head.needs for head in heads))
    return [(need, [head for head in heads if head.needs == need]) for need in needs]


def _check_table(clipset: ClipSet, extractor: Extractor, found: FeatureTable, head: Head) -> None:
    """Raise when a table cannot be probed: nothing was read, stored features are incomplete, or there are no layers."""
    if isinstance(extractor, StoredFeatures) and found.failures:
        missing = examples(found.failures.values())
        raise ManifestError(f"{extractor.name}: features of {len(found.failures)} clips are missing: {missing}")
    if not found.usable.any():
        raise ManifestError(f"{clipset.root}: no clip can be read: {examples(found.failures.values())}")
    if head.needs == "layers" and found.layers < 2:
        raise ConfigError(f"head {head.name} weighs the layers of a network, and {extractor.name} has none")
    if head.needs == "frames" and found.frames is None:
        raise ConfigError(f"head {head.name} reads frames, and {extractor.name} has none")


def _about(clipset: ClipSet, folds: str) -> dict[str, Any]:
    return {
        "dataset": clipset.name,
        "clips": len(clipset.clips),
        "speakers": len({clip.speaker for clip in clipset.clips} - {None}),
        "classes": list(clipset.classes),
        "clips_per_class": label_counts(clipset.clips),
        "scheme": folds,
    }


def _check_request(
    dataset: str | None,
    table: str | Path | None,
    emobox: str | Path | None,
    root: str | Path | None,
    features: Sequence[Any],
    heads: Sequence[Head],
    seeds: Sequence[int],
    layer: int | str,
) -> None:
    """Raise one ConfigError with everything that is wrong about the combination of arguments."""
    faults = []
    given = [name for name, value in (("dataset", dataset), ("table", table), ("emobox", emobox)) if value is not None]
    if len(given) > 1 or (not given and root is None):
        faults.append(f"expected one of dataset, table, emobox or root alone, found {' and '.join(given) or 'none'}")
    if root is None and (dataset is not None or emobox is not None):
        faults.append(f"root is missing, expected the folder of the audio of {dataset or emobox}")
    if not features:
        faults.append("no features and no model, expected at least one, such as logmel")
    if not seeds:
        faults.append("seeds is empty, expected at least one number")
    if layer == "all" and (reading := [head.name for head in heads if head.needs == "frames"]):
        faults.append(f"layer is 'all', which gives no frames, and head {', '.join(reading)} reads frames")
    if faults:
        raise ConfigError("; ".join(faults))
