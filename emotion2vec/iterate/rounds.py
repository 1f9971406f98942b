"""The rounds of one command, each from the self-supervised weights: choose, train, judge, accept or roll back."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emotion2vec.checkpoint.heard import HEARD_FILE
from emotion2vec.checkpoint.native import CONFIG_FILE, WEIGHTS_FILE
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.files import complete_file, write_text
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.described import CARD, DATA, VALIDATION, describe_data, describe_model
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.refit import learn
from emotion2vec.finetune.result import FACTS
from emotion2vec.finetune.splits import Split
from emotion2vec.iterate.choosing import SECOND, choose
from emotion2vec.iterate.config import POOL, IteratePlan, tuning_of
from emotion2vec.iterate.judging import ask, compared, read_answers, scores_of, worse_on
from emotion2vec.iterate.labels import Say
from emotion2vec.iterate.people import People
from emotion2vec.iterate.pool import Pool
from emotion2vec.iterate.tables import card_section, counts_of, lines_of, read_round, told, write_round, write_rounds
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.run_folder import CHECKPOINTS
from emotion2vec.training.trainer import FitResult


@dataclass(frozen=True)
class Iterated:
    """How a command ended.

    Attributes:
        rounds: what each round that is done left.
        result: of the training that was interrupted; None where none was.
        labelled: the shard that was labelled alone, in words; empty where rounds were done.
    """

    rounds: list[dict[str, Any]]
    result: FitResult | None = None
    labelled: str = ""


class _InterruptedError(Exception):
    """A training was interrupted, and saved what it did."""

    def __init__(self, result: FitResult):
        super().__init__()
        self.result = result


def done_rounds(plan: IteratePlan) -> list[dict[str, Any]]:
    """What the rounds that are done left, in order."""
    rounds: list[dict[str, Any]] = []
    while (found := read_round(Path(plan.run.dir) / f"round_{len(rounds)}")) is not None:
        rounds.append(found)
    return rounds


@dataclass
class Rounds:
    """All rounds of a plan, those that are done and those that come.

    Attributes:
        plan: a checked one.
        people: human-labelled clips.
        pool: speech without labels.
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after each clip that is labelled and each update.
        rows: what frozen blocks say of clips, for all trainings, which begin at the same weights.
    """

    plan: IteratePlan
    people: People
    pool: Pool
    say: Say
    on_progress: ProgressCallback | None
    rows: KeptRows = field(default_factory=KeptRows)

    def run(self) -> Iterated:
        """Do the rounds that are not done; see `emotion2vec.iterate.run.iterate`."""
        rounds = done_rounds(self.plan)
        for document in rounds:
            self.say(f"round {document['round']} is done{' and was rolled back' * (not document['accepted'])}")
        if rounds:  # a kill may have come before the row of the last one
            write_rounds(Path(self.plan.run.dir), rounds)
        try:
            while len(rounds) <= self.plan.rounds.count and (not rounds or rounds[-1]["accepted"]):
                rounds.append(self._round(len(rounds)))
                write_rounds(Path(self.plan.run.dir), rounds)
        except _InterruptedError as stopped:
            return Iterated(rounds, stopped.result)
        self._publish([document for document in rounds if document["accepted"]][-1])
        return Iterated(rounds)

    def _round(self, number: int) -> dict[str, Any]:
        """One round; what it leaves."""
        plan, people, started = self.plan, self.people, time.monotonic()
        folder = Path(plan.run.dir)
        own, classes = folder / f"round_{number}", people.corpus.classes
        self.say(f"round {number}: {'labels of the pool and of people' if number else 'labels of people alone'}")
        clips: dict[str, Any] = {}
        corpus, split, shares = people.corpus, people.split, []
        if number:
            second = self._second() if plan.filters.second else None
            choice = choose(plan, self.pool, classes, number, second, self.say, self.on_progress)
            clips = counts_of(choice.opinions, choice.reasons, classes)
            corpus, split = choice.beside(people, self.pool)
            unlabeled = 1 - plan.rounds.human
            shares = [f"{POOL}={unlabeled:g}"]
        self._learn(tuning_of(plan, own / "model", shares=shares), corpus, split, self.rows)
        answers = ask(plan, people, own, self.say)
        before = read_answers(folder / f"round_{number - 1}") if number else []
        found = compared(answers, before, classes, plan.accept) if number else {}
        worse = worse_on(found)
        document = {
            "round": number,
            "accepted": not worse,
            "worse on": worse,
            "labelled by": f"round_{number - 1}/model" if number else None,
            "clips": clips,
            "human": {"train": len(people.split.train), "choose": len(people.split.valid)},
            "filters": vars(plan.filters) if number else {},
            "scores": scores_of(answers, classes, plan.accept.over),
            "compared": told(found),
            "minutes of the last process": round((time.monotonic() - started) / 60, 2),
        }
        write_round(own, document)
        shutil.rmtree(own / "model" / CHECKPOINTS, ignore_errors=True)  # of a round that is done nothing goes on
        self._tell(document)
        if not worse:
            self._publish(document)
        return document

    def _tell(self, document: dict[str, Any]) -> None:
        """Say what came of a round."""
        number, worse = document["round"], ", ".join(document["worse on"])
        for line in lines_of(document):
            self.say(line)
        if worse:
            self.say(
                f"round {number} is worse on {worse} beyond the interval, and is rolled back: the model stays that of "
                f"round {number - 1}, and rounds end here"
            )
        else:
            self.say(f"round {number} is accepted")

    def _second(self) -> str | Path:
        """Folder of the second model, which is trained first where it has no head."""
        plan, folder = self.plan, Path(self.plan.run.dir) / SECOND / "model"
        if load_model(plan.filters.second).head is not None:
            return plan.filters.second
        if not (folder / CONFIG_FILE).is_file():
            self.say(f"a second model, from {plan.filters.second}, learns from labels of people alone")
        config = replace(tuning_of(plan, folder), model=plan.filters.second)
        self._learn(config, self.people.corpus, self.people.split, KeptRows())
        return folder

    def _learn(self, config: FinetuneConfig, corpus: Corpus, split: Split, rows: KeptRows) -> None:
        """Train a model, go on with it, or leave it as it is where it is done.

        Raises:
            _InterruptedError: training was interrupted.
        """
        folder = Path(config.run.dir)
        if not (folder / CONFIG_FILE).is_file():
            result = learn(config, corpus, split, say=self.say, rows=rows, on_progress=self.on_progress)
            if result.signal is not None:
                raise _InterruptedError(result)
        if not (folder / CARD).is_file():
            describe_data(config, corpus, split)
            describe_model(config, corpus, split)

    def _publish(self, document: dict[str, Any]) -> None:
        """Make a round's model that of the folder of all rounds, its description last."""
        folder = Path(self.plan.run.dir)
        model = folder / f"round_{document['round']}" / "model"
        for name in (WEIGHTS_FILE, HEARD_FILE, FACTS, DATA, VALIDATION):
            if (model / name).is_file():
                with complete_file(folder / name) as partial:
                    shutil.copyfile(model / name, partial)
        card = (model / CARD).read_text(encoding="utf-8", errors="surrogateescape")
        write_text(folder / CARD, card + card_section(document, self.plan.pool.sources))
        with complete_file(folder / CONFIG_FILE) as partial:
            shutil.copyfile(model / CONFIG_FILE, partial)
