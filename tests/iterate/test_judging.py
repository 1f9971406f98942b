"""Who is held out, when a round is worse, and what corpora get of the draws."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from finetune.talkers import write_talkers
from iterate.pools import Speech, divide_talkers, plan_of

from emotion2vec.checkpoint import load_model
from emotion2vec.data.cuts import Cuts
from emotion2vec.data.drawn import Draws
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.labelling import check_untold
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.splits import whole_split
from emotion2vec.finetune.task import make_task
from emotion2vec.iterate.config import AcceptSettings, IteratePlan, load_plan
from emotion2vec.iterate.judging import (
    ANSWERS,
    COLUMNS,
    POOLED,
    Answer,
    check_judges,
    compared,
    read_answers,
    scores_of,
    worse_on,
)
from emotion2vec.iterate.people import People, divide
from emotion2vec.iterate.sheets import write_tsv
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.known_heads import build_head

CLASSES = ("anger", "neutral")


def answers(rights: dict[str, int], clips: int = 20, corpus: str = "a") -> list[Answer]:
    """So many right answers of each speaker, among clips of which half are of each class."""
    found = []
    for speaker, right in rights.items():
        for number in range(clips):
            label = CLASSES[number % 2]
            said = label if number < right else CLASSES[1 - number % 2]
            found.append(Answer(corpus, f"{corpus}/{speaker}/{number}", speaker, label, said, 0.9))
    return found


def test_a_round_is_worse_where_all_of_the_interval_is_below_zero() -> None:
    before = answers(dict.fromkeys("stuvw", 18))
    every = answers(dict.fromkeys("stuvw", 12))
    mixed = answers({**dict.fromkeys("stuv", 20), "w": 2})
    accept = AcceptSettings()
    assert worse_on(compared(every, before, CLASSES, accept)) == ["a"]
    found = compared(mixed, before, CLASSES, accept)
    assert found["a"] is not None and found["a"].difference < 0 and worse_on(found) == []
    assert worse_on(compared(before, every, CLASSES, accept)) == []
    over_clips = compared(mixed, before, CLASSES, AcceptSettings(over="clips"))
    assert over_clips["a"] is not None
    low, high = over_clips["a"].interval
    # Paired over 100 clips: 8 more right, 16 less; the normal interval of the mean difference.
    changes = np.array([1] * 8 + [-1] * 16 + [0] * 76)
    error = 1.96 * changes.std() / np.sqrt(100)
    assert (low, high) == pytest.approx((100 * (changes.mean() - error), 100 * (changes.mean() + error)), abs=2.5)


def test_rounds_are_compared_by_what_both_heard() -> None:
    before = answers(dict.fromkeys("stuvw", 20))
    after = answers(dict.fromkeys("stuvw", 10))
    assert worse_on(compared([one for one in after if one.speaker != "w"], before, CLASSES, AcceptSettings())) == ["a"]
    assert worse_on(compared(after[:30], before[10:], CLASSES, AcceptSettings(by="pooled"))) == [POOLED]
    for by in ("each", "pooled"):
        with pytest.raises(ManifestError, match="held-out clips of a cannot tell this round from the last accepted"):
            compared(after[:1], before, CLASSES, AcceptSettings(by=by))
        with pytest.raises(ManifestError, match="held-out clips of b cannot"):
            compared(after, before + answers({"x": 1}, corpus="b"), CLASSES, AcceptSettings(by=by))


def test_clips_without_a_class_judge_nothing(speech: Speech, model: Path, tmp_path: Path) -> None:
    header, *rows = speech.human.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    some = [",".join([one[0], "" if at % 3 == 0 else one[1], *one[2:]]) for at, one in enumerate(cells)]
    table = speech.human.with_name("some.csv")
    table.write_text("\n".join([header, *some]) + "\n")
    plan = plan_of(speech, model, tmp_path, f"data.table={table}", "joint.classes=[gender=0.5]")
    people = divide(plan, read_labelled(plan.data, plan.joint))
    held = [people.corpus.utterances[i] for i in people.held["some"].tolist()]
    assert len(held) == 4 and all(clip.label for clip in held)
    assert not {clip.speaker for clip in held} & speakers_of(people, people.split.train)
    with pytest.raises(ManifestError, match="0 of 4 held-out clips of some can be opened, expected at least 2"):
        check_judges(people, Cuts([], [], []))


def test_what_a_round_said_is_read_back_whatever_files_are_called(tmp_path: Path) -> None:
    said = answers({"s": 2}, clips=3)
    odd = [replace(one, id=f'a\t"{number}"\r\n\udcff') for number, one in enumerate(said)]
    write_tsv(tmp_path / ANSWERS, [COLUMNS, *(list(asdict(one).values()) for one in odd)])
    assert read_answers(tmp_path) == odd


def test_stages_that_hear_held_out_clips_and_heads_that_read_texts_are_refused(speech: Speech, model: Path) -> None:
    gmp = ["gmp.enabled=true", "clusters.layers=[1]", "clusters.counts=[4]"]
    plan_of(speech, model, Path("unused"), *gmp)
    with pytest.raises(ConfigError, match=r"gmp.transductive is true, expected false: its stages would hear the held"):
        plan_of(speech, model, Path("unused"), *gmp, "gmp.transductive=true")
    with pytest.raises(ConfigError, match=r"text.encoder is roberta-base, expected none"):
        plan_of(speech, model, Path("unused"), "head.kind=text-late", "text.encoder=roberta-base")
    reader = load_model(model)
    check_untold("x", reader)
    reader.head = build_head(HeadConfig(kind="mean"), reader.config.width, 1, list(CLASSES))
    check_untold("x", reader)
    reader.head.reads_text = True
    with pytest.raises(ConfigError, match="model x has a head that reads what is said, expected one that hears speech"):
        check_untold("x", reader)


def test_corpora_are_judged_each_or_by_their_mean() -> None:
    before = answers({"s": 10, "t": 10}) + answers({"x": 10, "y": 10}, corpus="b")
    after = answers({"s": 8, "t": 8}) + answers({"x": 20, "y": 20}, corpus="b")
    assert worse_on(compared(after, before, CLASSES, AcceptSettings(by="each"))) == ["a"]
    pooled = compared(after, before, CLASSES, AcceptSettings(by="pooled"))
    assert list(pooled) == [POOLED] and worse_on(pooled) == []
    assert pooled[POOLED] is not None and pooled[POOLED].difference == pytest.approx((-10 + 50) / 2)


def test_few_speakers_are_judged_by_clips() -> None:
    found = scores_of(answers({"s": 15}), CLASSES, "speakers")["a"]
    assert found["units"] == 20 and found["UA"] == 75 and found["UA interval"][0] < 75 < found["UA interval"][1]
    assert scores_of(answers(dict.fromkeys("stuv", 15)), CLASSES, "speakers")["a"]["units"] == 80
    assert scores_of(answers(dict.fromkeys("stuvw", 15)), CLASSES, "speakers")["a"]["units"] == 5
    # Two speakers of whom each has lost one clip of twenty, which is chance.
    found = compared(answers(dict.fromkeys("st", 17)), answers(dict.fromkeys("st", 18)), CLASSES, AcceptSettings())
    assert worse_on(found) == []


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two corpora of five and of three speakers."""
    folder = tmp_path_factory.mktemp("corpora")
    return [f"{name}={write_talkers(folder / name, speakers=count)}" for name, count in (("a", 5), ("b", 3))]


def plan_with(corpora: list[str], *more: str) -> IteratePlan:
    data = [f"data.corpora=[{','.join(corpora)}]", "pool.sources=/pool", "run.dir=unused"]
    return load_plan(None, [*data, *more])


def speakers_of(people: People, rows: np.ndarray) -> set[str]:
    return {str(people.corpus.utterances[i].speaker) for i in rows.tolist()}


def test_speakers_are_held_out_of_every_corpus_once_for_all(corpora: list[str]) -> None:
    people = divide(plan_with(corpora, "accept.share=0.4"), read_labelled(plan_with(corpora).data))
    held = {name: speakers_of(people, rows) for name, rows in people.held.items()}
    assert {name: len(found) for name, found in held.items()} == {"a": 2, "b": 1}
    rest = [speakers_of(people, rows) for rows in (people.split.train, people.split.valid)]
    assert not rest[0] & rest[1] and not set.union(*held.values()) & set.union(*rest)
    counts = len(people.split.train) + len(people.split.valid) + sum(map(len, people.held.values()))
    assert counts == len(people.corpus.utterances)


def test_whole_corpora_and_prescribed_tests_are_held_out(corpora: list[str], tmp_path: Path) -> None:
    plan = plan_with(corpora, "accept.corpora=[b]", "accept.share=0")
    people = divide(plan, read_labelled(plan.data))
    assert list(people.held) == ["b"] and len(people.held["b"]) == 18
    table = write_talkers(tmp_path / "own", speakers=4)
    part = {"s0": "train", "s1": "train", "s2": "dev", "s3": "test"}
    lines = [f"{row},{part.get(row.split(',')[2], 'split')}" for row in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    plan = plan_with([f"c={table}"])
    people = divide(plan, read_labelled(plan.data))
    assert speakers_of(people, people.held["c"]) == {"s3"} and speakers_of(people, people.split.valid) == {"s2"}
    plan = plan_with(corpora, "accept.share=0")
    with pytest.raises(ConfigError, match=r"accept.share is 0 and no other clip is held out"):
        divide(plan, read_labelled(plan.data))


def test_a_corpus_of_the_name_pool_is_refused(speech: Speech, model: Path, tmp_path: Path) -> None:
    table = divide_talkers(write_talkers(tmp_path / "all", speakers=3), 2).human.rename(tmp_path / "all" / "pool.csv")
    plan = plan_of(speech, model, tmp_path, f"data.table={table}")
    with pytest.raises(ConfigError, match="human-labelled clips is called pool"):
        divide(plan, read_labelled(plan.data))


@pytest.mark.parametrize(("share", "of_a"), [("a=0.5", 0.5), ("b=0.9", 0.1)])
def test_corpora_get_their_shares_of_the_draws(corpora: list[str], share: str, of_a: float) -> None:
    data = [f"data.corpora=[{','.join(corpora)}]", f"data.shares=[{share}]"]
    config = load_config(None, [*data, "run.dir=unused"])
    corpus = read_labelled(config.data)
    task = make_task(config, corpus, whole_split(config, corpus))
    drawn = Draws(task.groups, 0).at(0, 6000)
    found = [task.utterances[task.source.cuts[place].id] for place in drawn]
    for name, expected in (("a", of_a), ("b", 1 - of_a)):
        assert np.mean([clip.corpus == name for clip in found]) == pytest.approx(expected, abs=0.01)
        own = [clip.label for clip in found if clip.corpus == name]
        assert [own.count(label) / len(own) for label in corpus.classes] == pytest.approx([1 / 3] * 3, abs=0.01)
    with pytest.raises(ConfigError, match=r"data.shares names c, expected corpora: 'a', 'b'"):
        make_task(replace(config, data=replace(config.data, shares=["c=0.5"])), corpus, whole_split(config, corpus))
