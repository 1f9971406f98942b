"""Speech without labels: what is listed, and which of its clips people have labelled, or are there twice.

N: clips.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emotion2vec.corpora.contents import content_keys
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.names import span_name
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.data.cuts import cuts_of
from emotion2vec.errors import AudioError, ConfigError, ManifestError
from emotion2vec.extraction.sources.named import read_sources, take_shard
from emotion2vec.files import write_json
from emotion2vec.finetune.decoding import DECODERS, TOGETHER, decoded
from emotion2vec.finetune.sounds import Heard, matches, measure
from emotion2vec.iterate.config import POOL, IteratePlan
from emotion2vec.iterate.people import People
from emotion2vec.units import counted

COMPARED = "compared.json"
"""What was found of the pool, so that it is not decoded again."""

LEAST_SHARED = 1e-3
"""Overlap of two stretches of a file that counts, in s: less is how times of neighbours are rounded."""

LABELLED, TWICE = "labelled by people", "another clip again"
"""Why clips are left out before anything is heard of them."""


@dataclass(frozen=True)
class Pool:
    """Speech without labels.

    Attributes:
        found: its clips, without the labels that lists may have.
        shards: the clips of each part that is labelled by itself.
        left_out: why clips are not learnt from, by their ids.
    """

    found: Listing
    shards: Sequence[Sequence[Utterance]]
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_pool(plan: IteratePlan) -> Pool:
    """List the pool; labels that its lists have are not looked at.

    Raises:
        ManifestError: a source cannot be read, or there is no clip; too many entries cannot be used; or two sources
            that are shards have clips of one name.
    """
    sources, count = plan.pool.sources, plan.pool.shards
    if count:
        found = _read(plan, sources)
        return Pool(found, [take_shard(found.utterances, f"{number}/{count}") for number in range(count)])
    parts = [_read(plan, [source]) for source in sources]
    clips = [clip for part in parts for clip in part.utterances]
    if twice := [name for name, often in Counter(clip.id for clip in clips).items() if often > 1]:
        raise ManifestError(
            f"pool.sources: {counted(len(twice), 'clip has', 'clips have')} the name of one in another source: "
            f"{examples(twice)}; expected other names, or pool.shards=1"
        )
    whole = replace(parts[0], utterances=clips, faults=[fault for part in parts for fault in part.faults])
    return Pool(whole, [part.utterances for part in parts])


def read_shard(plan: IteratePlan, number: int) -> Pool:
    """List one shard of the pool, of which the others are empty; where each source is one, no other is read.

    Raises:
        ManifestError: as for `read_pool`.
    """
    if plan.pool.shards:
        pool = read_pool(plan)
        return replace(pool, shards=[part if at == number else [] for at, part in enumerate(pool.shards)])
    found = _read(plan, [plan.pool.sources[number]])
    return Pool(found, [found.utterances if at == number else [] for at in range(len(plan.pool.sources))])


def _read(plan: IteratePlan, sources: Sequence[str]) -> Listing:
    """List some sources."""
    root = Path(plan.pool.root) if plan.pool.root else None
    try:
        found = read_sources(sources, root=root, columns=tuple(plan.pool.columns))
    except ManifestError as error:
        raise ManifestError(f"pool.sources {', '.join(sources)}: {error}") from error
    mostly_readable(plan, [str(fault) for fault in found.faults], len(found.utterances) + len(found.faults))
    plain = [replace(one, label=None, votes=(), values={}, split=None, fold=None) for one in found.utterances]
    return replace(found, utterances=plain)


def mostly_readable(plan: IteratePlan, bad: Sequence[str], total: int) -> None:
    """See to it that most of the pool can be used.

    Raises:
        ManifestError: it cannot.
    """
    if len(bad) > plan.pool.max_bad_share * total:
        raise ManifestError(
            f"{len(bad)} of {counted(total, 'clip')} of the pool cannot be read, expected at most "
            f"{plan.pool.max_bad_share:.1%} (pool.max_bad_share): {examples(bad)}"
        )


def compare_pool(plan: IteratePlan, pool: Pool, people: People, say: Callable[[str], None]) -> Pool:
    """Look for clips of people in the pool: by stretches of files with the same bytes, and by what they sound like.

    Bytes of URLs are not read, but for `file://`; a warning says so.

    Raises:
        ConfigError: a held-out clip is in the pool, or no clip is left.
    """
    folder = Path(plan.run.dir)
    labelled = list(people.corpus.utterances)
    held = {labelled[i].id for rows in people.held.values() for i in rows.tolist()}
    clips = pool.found.utterances
    files = _files([*labelled, *clips], folder / "cache")
    known, own = files[: len(labelled)], files[len(labelled) :]
    if remote := own.count(None):
        rest = ": only sounds of one length are" if plan.pool.compare == "sound" else ", expected pool.compare=sound"
        are = counted(remote, "clip of the pool is a URL", "clips of the pool are URLs")
        say(f"warning: {are} whose bytes are not compared with clips that people labelled{rest}")
    what = [[one.id, str(one.audio), one.start, one.duration] for one in (*labelled, *clips)]
    facts = [plan.pool.compare, sorted(held), len(labelled), what, files]
    digest = hashlib.blake2b(json.dumps(facts).encode()).hexdigest()
    before = _before(folder / COMPARED, digest)
    if before is not None:
        return replace(pool, left_out=before)
    pairs = list(_same_stretch((labelled, known), (clips, own)))
    if plan.pool.compare == "sound":
        say(f"comparing the sound of {counted(len(clips), 'clip')} of the pool with {len(labelled)} labelled ones")
        pairs += _same_sound(plan, labelled, clips)
    if leaks := sorted({(clips[j].stretch, labelled[i].stretch) for i, j in pairs if labelled[i].id in held}):
        named = examples(f"{ours} = {theirs}" for ours, theirs in leaks)
        raise ConfigError(
            f"pool.sources: {counted(len(leaks), 'clip of the pool is', 'clips of the pool are')} held out to judge "
            f"rounds by: {named}; expected a pool without them (pool.compare=bytes lets those pass that merely sound "
            "alike)"
        )
    left_out = dict.fromkeys((clips[j].id for _, j in pairs), LABELLED)
    first: dict[tuple[str, str, int | None], str] = {}
    for clip, file in zip(clips, own, strict=True):
        if file is None or clip.id in left_out:
            continue
        if first.setdefault((file, span_name(clip.start, clip.duration), clip.channel), clip.id) != clip.id:
            left_out[clip.id] = TWICE
    if len(left_out) == len(clips):
        raise ConfigError(f"pool.sources: all {counted(len(clips), 'clip')} are {LABELLED}, expected others")
    write_json(folder / COMPARED, {"of": digest, "left_out": left_out})
    return replace(pool, left_out=left_out)


def _before(path: Path, digest: str) -> dict[str, str] | None:
    """What an earlier comparison of the same clips found; None where there was none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return dict(document["left_out"]) if document["of"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(clip: Utterance) -> Path | None:
    """The file of a clip; None for a URL that leads elsewhere."""
    name = str(clip.audio)
    if "://" not in name:
        return clip.path
    return Path(name.removeprefix("file://")) if name.startswith("file://") else None


def _files(clips: Sequence[Utterance], cache: Path) -> list[str | None]:
    """What tells the files of clips apart: hashes of their bytes, or paths where they cannot be read; None for URLs."""
    places = [_place(clip) for clip in clips]
    paths = list(dict.fromkeys(place for place in places if place is not None))
    keys = dict(zip(paths, content_keys(paths, cache), strict=True))
    return [None if place is None else keys[place] or str(place.resolve()) for place in places]


Listed = tuple[Sequence[Utterance], Sequence[str | None]]
"""Clips, and what tells their files apart."""


def _same_stretch(labelled: Listed, pool: Listed) -> Iterable[tuple[int, int]]:
    """Places of labelled clips and of clips of the pool that overlap in time in files with the same bytes."""
    by_file: dict[str, list[int]] = defaultdict(list)
    for i, file in enumerate(labelled[1]):
        if file is not None:
            by_file[file].append(i)
    for j, (clip, file) in enumerate(zip(*pool, strict=True)):
        for i in by_file.get(file, ()) if file is not None else ():
            (start, end), (first, last) = _span(clip), _span(labelled[0][i])
            if min(end, last) - max(start, first) > LEAST_SHARED:
                yield i, j


def _span(clip: Utterance) -> tuple[float, float]:
    """Start and end in s."""
    start = clip.start or 0.0
    return start, np.inf if clip.duration is None else start + clip.duration


def _same_sound(
    plan: IteratePlan, labelled: Sequence[Utterance], clips: Sequence[Utterance]
) -> Iterable[tuple[int, int]]:
    """The same of those that sound like one recording, whatever encoded it; what cannot be decoded is passed over."""
    known = list(_heard(plan, labelled))
    prints = [heard for _, heard in known]
    for first in range(0, len(clips), TOGETHER):
        some = list(_heard(plan, clips[first : first + TOGETHER]))
        for row, other in matches([heard for _, heard in some], prints):
            yield known[other][0], first + some[row][0]


def _heard(plan: IteratePlan, clips: Sequence[Utterance]) -> Iterable[tuple[int, Heard]]:
    """Places of clips that can be decoded, and what they sound like; a few are in memory at a time."""
    places = [(number, clip, _place(clip)) for number, clip in enumerate(clips)]
    local = [replace(clip, id=str(number), audio=path) for number, clip, path in places if path is not None]
    cuts = cuts_of(local, min_samples=0, workers=plan.data.workers).cuts
    for first in range(0, len(cuts), TOGETHER):
        some = cuts[first : first + TOGETHER]
        for cut, waveform in zip(some, decoded(some, normalizes=False), strict=True):
            if not isinstance(waveform, AudioError):
                yield int(cut.id), measure(waveform)
    remote = [(number, clip) for number, clip, path in places if path is None]
    with ThreadPoolExecutor(DECODERS) as threads:
        for (number, _), heard in zip(remote, threads.map(_fetched, (clip for _, clip in remote)), strict=True):
            if heard is not None:
                yield number, heard


def _fetched(clip: Utterance) -> Heard | None:
    """What a clip behind a URL sounds like; None where it cannot be decoded."""
    try:
        return measure(clip.load())
    except AudioError:
        return None


def as_labelled(clip: Utterance, label: str) -> Utterance:
    """A clip of the pool as one that trains, under a name that no human-labelled clip has."""
    return replace(clip, id=f"{POOL}:{clip.id}", corpus=POOL, label=label, speaker=None)
