"""The record of a search: one SQLite file in its folder, which several processes may share."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.search.plan import SearchPlan, fixed_part
from emotion2vec.finetune.search.space import Choices, Range, Space
from emotion2vec.finetune.search.trial import WHY, Row, Trial, lock_of
from emotion2vec.locks import is_held, locked
from emotion2vec.seeding import keyed_seed
from emotion2vec.settings import dotted
from emotion2vec.training.run_folder import fixed_values

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
TRIALS = "trials"
FOLDER, AFTER = "folder", "after"
"""What trials say of themselves: whose folder they train in, which stopped trial they take up."""


class Study:
    """A search as it stands.

    Args:
        plan: the search.
        space: what is tried.

    Raises:
        ConfigError: Optuna is missing, or another search is there.
    """

    def __init__(self, plan: SearchPlan, space: Space):
        optuna = import_optuna()
        self.plan = plan
        self.space = space
        self.path = Path(plan.run.dir)
        self._optuna = optuna
        with self._alone():
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{self.path.resolve() / STUDY}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self._study = optuna.create_study(
                study_name="search", storage=storage, direction="maximize", pruner=self._pruner(), load_if_exists=True
            )
            self._check_same()

    def next(self) -> Trial | None:
        """The next trial to run here; None where all are done or run elsewhere."""
        with self._alone():
            self._take_up_stopped()
            trials = self._study.get_trials(deepcopy=False)
            states = self._optuna.trial.TrialState
            counted = len(self._counted(trials))
            if counted >= self.plan.trials:
                return None
            if self.plan.sampler == "grid" and not any(trial.state == states.WAITING for trial in trials):
                left = self._left_of_grid(trials)
                if left is None:
                    return None
                self._study.enqueue_trial(left)
            self._study.sampler = self._sampler(counted)
            asked = self._study.ask({key: self._distribution(one) for key, one in self.space.items()})
            number = asked.user_attrs.get(FOLDER, asked.number)
            asked.set_user_attr(FOLDER, number)
            return Trial(asked, self._folder(number))

    def done(self, trial: Trial, value: float) -> None:
        """Note the best validation score of a trial that went to its end."""
        self._study.tell(trial.number, value)

    def pruned(self, trial: Trial) -> None:
        """Note that a trial was not worth going on with."""
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def failed(self, trial: Trial, why: str) -> None:
        """Note that the settings of a trial cannot be trained with."""
        trial.fails(why)
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def stopped(self, trial: Trial) -> None:
        """Note that a trial was interrupted, and is to be taken up."""
        with self._alone():
            self._take_up(trial.number)

    def rows(self) -> list[Row]:
        """All trials, but those that wait."""
        trials = self._study.get_trials(deepcopy=False)
        counted = {trial.number for trial in self._counted(trials)}
        rows = []
        for trial in trials:
            if trial.state.name == "WAITING":
                continue
            state = {"COMPLETE": "done", "FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
            last = max(trial.intermediate_values.items(), default=(0, None))[1]
            rows.append(
                Row(
                    number=trial.number,
                    state=state if trial.number in counted else "stopped",
                    value=trial.value if state == "done" else last,
                    values=trial.params,
                    folder=self._folder(trial.user_attrs.get(FOLDER, trial.number)),
                    why=trial.user_attrs.get(WHY, ""),
                )
            )
        return rows

    def best(self) -> Row | None:
        """The best of the trials that are done, the first of several."""
        return max((row for row in self.rows() if row.state == "done"), key=lambda row: row.value or 0.0, default=None)

    def _alone(self) -> Any:
        return locked(self.path / "study.lock")

    def _folder(self, number: int) -> Path:
        return self.path / TRIALS / str(number)

    def _check_same(self) -> None:
        """Compare with the search that is there, or note what this one is.

        Raises:
            ConfigError: it has other settings.
        """
        base = fixed_part(self.plan)
        settings = fixed_values(base) | {f"validation.{key}": value for key, value in dotted(base.validation).items()}
        facts = settings | {f"space {key}": str(one) for key, one in self.space.items()}
        facts = json.loads(json.dumps({key: value for key, value in facts.items() if key not in self.space}))
        before = self._study.user_attrs.get("facts")
        if before is None:
            self._study.set_user_attr("facts", facts)
            return
        changed = [
            f"{key} is {before.get(key, 'not there')} there and {facts.get(key, 'not there')} now"
            for key in sorted(before.keys() | facts.keys())
            if before.get(key) != facts.get(key)
        ]
        if changed:
            raise ConfigError(
                f"run.dir {self.path} holds a search with other settings; continue with its own, or use another "
                "run.dir:\n" + "\n".join(f"  {change}" for change in changed)
            )

    def _counted(self, trials: Sequence[Any]) -> list[Any]:
        """Trials that were begun, but those that others take up."""
        after = {trial.user_attrs.get(AFTER) for trial in trials}
        return [trial for trial in trials if trial.state.name != "WAITING" and trial.number not in after]

    def _take_up_stopped(self) -> None:
        """Have trials whose processes are gone tried again."""
        left = [
            trial.number
            for trial in self._running()
            if not is_held(lock_of(self._folder(trial.user_attrs.get(FOLDER, trial.number))))
        ]
        # A process tells how its trial ended and then leaves it, which may have been between the two looks at it.
        still = {trial.number for trial in self._running()}
        for number in left:
            if number in still:
                self._take_up(number)

    def _running(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,))

    def _take_up(self, number: int) -> None:
        """Mark a trial as failed, and put another with its settings and its folder first in the queue.

        The other one is there before the mark, so that a process killed between them loses no trial.
        """
        trials = self._study.get_trials(deepcopy=False)
        if not any(trial.user_attrs.get(AFTER) == number for trial in trials):
            folder = trials[number].user_attrs.get(FOLDER, number)
            self._study.enqueue_trial(trials[number].params, user_attrs={AFTER: number, FOLDER: folder})
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def _left_of_grid(self, trials: Collection[Any]) -> dict[str, Any] | None:
        """A point of the grid that was not tried, None where all were."""
        tried = {_point(trial.params, self.space) for trial in trials}
        points = [dict(zip(self.space, values, strict=True)) for values in product(*map(_values, self.space.values()))]
        random = np.random.default_rng(keyed_seed("grid", self.plan.run.seed))
        order = random.permutation(len(points)).tolist()
        return next((points[i] for i in order if _point(points[i], self.space) not in tried), None)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self.plan.pruner == "none":
            return self._optuna.pruners.NopPruner()
        return self._optuna.pruners.MedianPruner(n_startup_trials=self.plan.startup)

    def _sampler(self, counted: int) -> optuna.samplers.BaseSampler:
        """What chooses the settings of a trial, whose randomness is keyed by how many were begun before it."""
        samplers, seed = self._optuna.samplers, keyed_seed("search", self.plan.run.seed, counted) % (1 << 32)
        if self.plan.sampler == "tpe":
            return samplers.TPESampler(seed=seed)
        if self.plan.sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return samplers.RandomSampler(seed=seed)

    def _distribution(self, one: Range | Choices) -> optuna.distributions.BaseDistribution:
        kinds = self._optuna.distributions
        if isinstance(one, Choices):
            return kinds.CategoricalDistribution(one.values)
        values = one.grid()
        high = values[-1] if values else one.high
        if isinstance(one.low, int):
            return kinds.IntDistribution(one.low, int(high), log=one.log, step=int(one.step or 1))
        return kinds.FloatDistribution(one.low, high, log=one.log, step=one.step)


def _values(one: Range | Choices) -> tuple[Any, ...]:
    """All values of a key of a grid."""
    found = one.grid()
    assert found is not None
    return found


def _point(values: dict[str, Any], space: Space) -> str:
    return json.dumps([values.get(key) for key in space])


def import_optuna() -> Any:
    """Optuna, which says nothing by itself.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cmaes  # noqa: F401  Optuna imports it when it is needed
        import optuna
    except ImportError as error:
        raise ConfigError(
            f"search needs the packages optuna and cmaes: pip install 'emotion2vec[search]' ({error})"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
