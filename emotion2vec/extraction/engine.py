"""From sources to features on disk: sources -> encode -> writers.

What needs torch is imported when options and sources are known to be right: a mistake is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.corpora.utterance import Listing
from emotion2vec.extraction.encode.choices import read_layers
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.options import ExtractOptions, check_options
from emotion2vec.extraction.progress import shown_progress
from emotion2vec.extraction.run import ExtractionReport, Job
from emotion2vec.extraction.sources.named import AnySources, read_sources
from emotion2vec.extraction.writers import output_folder
from emotion2vec.extraction.writers.job import JobRecord
from emotion2vec.extraction.writers.outputs import alone, beside, open_outputs
from emotion2vec.progress import ProgressCallback
from emotion2vec.settings import from_keywords

if TYPE_CHECKING:
    from emotion2vec.extraction.encode.encoder import Encoder
    from emotion2vec.extraction.executor import Executor
    from emotion2vec.model.speech import SpeechEncoder


def extract(
    source: AnySources,
    *,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    output: str | Path,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
    **options: Any,
) -> ExtractionReport:
    """Extract features of everything that the sources list, and write them.

    A bad file or line is reported, also in `failed.jsonl`, and the others are done. After an interrupt, what was
    written is complete, and `resume` does the rest: what is missing, and what was made of other audio; it is refused
    unless the same model and options made what is there.

    Args:
        source: see `read_sources`: files, folders, globs, manifests, URLs, `-`; one or a list.
        model: a model, or what `load_model` takes; by default the one that ships with the package.
        output: folder; for the format npz it may be the archive's name.
        progress: show a progress bar if stderr is a terminal.
        on_progress: called with a `Progress` after each item, in this thread. What it raises ends the job and is raised
            here; what was written by then is kept, and `resume` does the rest.
        options: see `ExtractOptions`. Which features: `granularity`, `layers`, `features`, `pooling`, `downsample`,
            `downsample_by`, `dtype`. On disk: `format`, `resume`. Sources: `root`, `channel`, `segments`,
            `accept_damaged`, `shard`. Computing: `precision`, `backend`, `device`, `chunk_seconds`, `chunk_overlap`,
            `batch_seconds`, `workers`, `engine`, `ray_address`, `actors`.

    Raises:
        ConfigError: an argument is wrong, or nothing more can be written to the output.
        ManifestError: the sources cannot be read or have no usable entry.
        CheckpointError: the model cannot be loaded.
    """
    return run(
        source, model, output, from_keywords(ExtractOptions, options), progress=progress, on_progress=on_progress
    )


def run(
    source: AnySources,
    model: str | Path | SpeechEncoder,
    output: str | Path,
    options: ExtractOptions,
    *,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ExtractionReport:
    """Do what `extract` does, with its options in one object."""
    check_options(options.faults())
    found = read_sources(source, **vars(options.sources), shard=options.shard, workers=options.executor.workers)

    from emotion2vec.extraction.executor import executor_for

    workload = Workload.of(options.choice, [item.duration for item in found.utterances])
    with executor_for(model, options.executor, workload) as executor:
        from emotion2vec.extraction.encode.encoder import Encoder

        encoder = Encoder(
            executor.model,
            options.choice,
            precision=executor.precision,
            chunking=options.chunking,
            graph=executor.graph,
        )
        place = Place(options.format, Path(output), options.shard, options.resume)
        shown = partial(shown_progress, bar=progress, on_progress=on_progress)
        return carry_out(executor, encoder, found, place, _facts(executor, options), shown)


@dataclass(frozen=True)
class Place:
    """Where a job writes.

    Attributes:
        format: of what is written.
        output: folder, or for npz the archive's name.
        shard: `i/n` of the list, for names of files; None for all of it.
        resume: keep what earlier jobs completed.
    """

    format: str
    output: Path
    shard: str | None
    resume: bool


def carry_out(
    executor: Executor,
    encoder: Encoder,
    found: Listing,
    place: Place,
    facts: Mapping[str, Any],
    shown: Callable[[int], AbstractContextManager[ProgressCallback | None]],
) -> ExtractionReport:
    """Encode what was found, and write it with the record of the job; raises as `extract` does.

    Args:
        executor: carries it out.
        encoder: makes arrays of clips.
        found: the clips of the shard.
        place: where they are written.
        facts: what they depend on, for the record.
        shown: gives what is to be called after each of so many clips.
    """
    from emotion2vec.extraction.executor import report_of

    output = place.output
    folder = output_folder(place.format, output)
    tag = f"-{place.shard.replace('/', '-of-')}" if place.shard else ""
    record = JobRecord(folder / beside(output, "job.json"), facts, tag)
    with alone(folder, output, tag):
        resume = place.resume and record.check()
        with open_outputs(place.format, output, encoder.layout, resume=resume, tag=tag) as outputs:
            record.write()
            job = Job(report_of(executor), outputs.log)
            job.begin(found)
            plan = outputs.plan(found.utterances, resume)
            job.leave(plan)
            with shown(len(plan.todo)) as callback:
                job.run(executor.outcomes(plan.todo, encoder, outputs, folder), plan.todo, callback)
        record.write(job.report.summary.to_dict())
    return job.report


def _facts(executor: Executor, options: ExtractOptions) -> dict[str, Any]:
    """What features depend on, for the record of the job."""
    from emotion2vec.model.fingerprint import weights_hash

    facts: dict[str, Any] = {
        "model": weights_hash(executor.model),
        "format": options.format,
        "precision": executor.precision,
    }
    facts |= {**asdict(options.choice), **asdict(options.chunking), "channel": options.sources.channel}
    if (weights := read_layers(options.choice.layers).weights) is not None:  # the file may hold others another time
        facts["layer_weights"] = weights.tolist()
    return facts
