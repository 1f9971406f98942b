"""Which clips of a pool people know already, whatever their folders, names and URLs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune.talkers import write_talkers
from iterate.pools import Speech, divide_talkers, plan_of

from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.iterate import rounds
from emotion2vec.iterate.people import divide
from emotion2vec.iterate.pool import LABELLED, TWICE, compare_pool, read_pool
from emotion2vec.iterate.run import iterate, prepare
from emotion2vec.iterate.settings import keep_settings


def silent(text: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """Human labels are of stretches of one long file of each speaker."""
    speech = divide_talkers(write_talkers(tmp_path_factory.mktemp("long"), speakers=7, takes=1), 6)
    folder, lines = speech.human.parent / "long", ["file,start,end,emotion,speaker"]
    folder.mkdir()
    rows = [row.split(",") for row in speech.human.read_text().splitlines()[1:]]
    for speaker in sorted({row[2] for row in rows}):
        parts = [np.zeros(8000)]
        for file, label, own, _ in rows:
            if own == speaker:
                start = sum(map(len, parts)) / 16_000
                parts.append(soundfile.read(speech.human.parent / file)[0])
                lines.append(f"long/{speaker}.wav,{start},{sum(map(len, parts)) / 16_000},{label},{speaker}")
        soundfile.write(folder / f"{speaker}.wav", np.concatenate(parts), 16_000)
    table = speech.human.with_name("stretches.csv")
    table.write_text("\n".join(lines) + "\n")
    return Speech(table, speech.pool, speech.hidden)


@pytest.mark.parametrize("kind", ["link", "copy", "url"])
def test_held_out_stretches_of_a_recording_are_found_wherever_it_lies(
    recordings: Speech, model: Path, tmp_path: Path, kind: str
) -> None:
    first = recordings.human.parent / "long"
    if kind == "link":
        os.symlink(first, tmp_path / "pool")
    elif kind == "copy":
        shutil.copytree(first, tmp_path / "pool")
    folder = f"file://{first}" if kind == "url" else str(tmp_path / "pool")
    sources = ",".join(f"{folder}/s{number}.wav" for number in range(6))
    plan = plan_of(recordings, model, tmp_path / "run", f"pool.sources=[{sources}]", "pool.compare=bytes")
    people = divide(plan, read_labelled(plan.data))
    with pytest.raises(ConfigError, match=r"3 clips of the pool are held out to judge rounds by: .*s\d.wav = "):
        compare_pool(plan, read_pool(plan), people, silent)


def test_neighbours_of_labelled_stretches_may_be_learnt_from(recordings: Speech, model: Path, tmp_path: Path) -> None:
    plan = plan_of(recordings, model, tmp_path)
    people = divide(plan, read_labelled(plan.data))
    clip = people.corpus.utterances[int(people.split.train[0])]
    assert clip.start is not None and clip.duration is not None
    end = clip.start + clip.duration
    stretches = [(0, 0.5), (clip.start, end), (clip.start + 0.1, end), (0.1, 0.5005), (0.1, 0.6)]
    pool = tmp_path / "neighbours.csv"
    pool.write_text("\n".join(["file,start,end", *(f"{clip.path},{a},{b}" for a, b in stretches)]) + "\n")
    plan = plan_of(recordings, model, tmp_path, f"pool.sources={pool}", "pool.compare=bytes")
    found = compare_pool(plan, read_pool(plan), people, silent)
    reasons = [found.left_out.get(one.id) for one in found.found.utterances]
    assert clip.start == 0.5 and reasons == [None, LABELLED, LABELLED, None, LABELLED]


def test_urls_are_heard_or_said_not_to_be(speech: Speech, model: Path, tmp_path: Path) -> None:
    import fsspec

    plan = plan_of(speech, model, tmp_path / "run")
    people = divide(plan, read_labelled(plan.data))
    known = people.corpus.utterances[int(people.split.train[0])]
    memory = fsspec.filesystem("memory")
    memory.pipe("/pool/known.wav", known.path.read_bytes())
    memory.pipe("/pool/other.wav", (speech.pool.parent / f"{next(iter(speech.hidden))}.wav").read_bytes())
    for compare, found in (("sound", [LABELLED]), ("bytes", [])):
        said: list[str] = []
        sources = "pool.sources=[memory://pool/known.wav,memory://pool/other.wav]"
        plan = plan_of(speech, model, tmp_path / compare, sources, f"pool.compare={compare}")
        assert list(compare_pool(plan, read_pool(plan), people, said.append).left_out.values()) == found
        assert said[0].startswith("warning: 2 clips of the pool are URLs whose bytes are not compared with clips")
        assert said[0].endswith("expected pool.compare=sound") == (compare == "bytes")


def test_a_comparison_is_of_the_names_that_clips_have_now(speech: Speech, model: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in ("a", "b"):
        shutil.copy(speech.pool.parent / f"{next(iter(speech.hidden))}.wav", pool / f"{name}.wav")
    plan = plan_of(speech, model, tmp_path / "run", f"pool.sources={pool}", "pool.compare=bytes")
    people = divide(plan, read_labelled(plan.data))
    for name in ("b", "c"):
        assert compare_pool(plan, read_pool(plan), people, silent).left_out == {name: TWICE}
        (pool / f"{name}.wav").rename(pool / "c.wav")


def test_clips_of_people_stay_as_they_were_divided(speech: Speech, model: Path, tmp_path: Path) -> None:
    table = speech.human.with_name("growing.csv")
    table.write_text(speech.human.read_text())
    asked = [f"data.table={table}", "pool.compare=bytes", "rounds.count=0"]
    plan = plan_of(speech, model, tmp_path / "plus", *asked)
    (tmp_path / "plus").mkdir()
    keep_settings(plan, prepare(plan, silent)[0])
    prepare(plan, silent)
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *lines[:-1], lines[-1].replace(",sadness,", ",anger,")]) + "\n")
    wanted = r"with other human-labelled clips: 1 have another label in .*; expected the same clips and labels, or"
    with pytest.raises(ConfigError, match=wanted):
        iterate(plan_of(speech, model, tmp_path / "plus", *asked), silent)
    more = speech.human.with_name("table.csv").read_text().splitlines()[-6:]  # of a speaker of the pool
    table.write_text("\n".join([header, *lines, *more]) + "\n")
    with pytest.raises(ConfigError, match=r"with other human-labelled clips: \d+ are now in "):
        iterate(plan_of(speech, model, tmp_path / "plus", *asked), silent)
    (tmp_path / "plus" / "people.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"people.json: cannot be read as who is held out"):
        iterate(plan_of(speech, model, tmp_path / "plus", *asked), silent)


def test_a_kill_before_the_row_of_a_round_loses_no_row(
    speech: Speech, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(speech, model, tmp_path / "plus", "pool.compare=bytes", "rounds.count=0")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rounds, "write_rounds", killed)
        iterate(plan, silent)
    assert set(json.loads((tmp_path / "plus" / "people.json").read_text())) == {"train", "choose", "held out"}
    iterate(plan, silent)
    assert len((tmp_path / "plus" / "rounds.tsv").read_text().splitlines()) == 2


def test_a_pool_that_nobody_can_hear_is_one_sentence(speech: Speech, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / "bad" / f"{number}.wav").write_bytes(b"RIFFxxxx" + bytes(50))
    more = [f"pool.sources={tmp_path / 'bad'}", "pool.max_bad_share=1", "pool.compare=bytes"]
    with pytest.raises(ManifestError, match="none of 3 clips of the pool can be heard, expected some to learn from"):
        iterate(plan_of(speech, model, tmp_path / "plus", *more), silent)
