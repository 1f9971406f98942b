"""No option is dead: what a user can set is read by code that does something with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from reads import unread

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"
CONFIG = "training/config.py"


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def test_every_option_of_every_verb_is_read(sources: dict[str, str]) -> None:
    assert unread([*sources.values()]) == set()


MENTIONS = {
    "nobody": "",
    "a test": "def test_it(config: LogConfig):\n    pass",
    "a message": "def tell(config: LogConfig, say):\n    say(config.shiny)",
    "a message's text": "def f(config: LogConfig):\n    text = f'{config.shiny}'",
    "an error": "def f(config: LogConfig):\n    raise ValueError(config.shiny)",
    "a check": "def check_log(config: LogConfig):\n    return [] if config.shiny else ['no']",
    "another section": "def f(config: TrainingConfig):\n    return config.run.shiny",
    "something else": "def f(other):\n    return other.shiny",
}
READS = {
    "a parameter": "def f(config: LogConfig):\n    return config.shiny",
    "a section": "def f(config: TrainingConfig):\n    return config.log.shiny",
    "a name": "def f(config: TrainingConfig | None):\n    log, run = config.log, config.run\n    return log.shiny",
    "a member": "class A:\n    def g(self):\n        return self.c.log.shiny\n"
    "    def __init__(self, config: TrainingConfig):\n        self.c = config",
    "all fields": "def f(config: TrainingConfig):\n    return g(**vars(config.log))",
}


@pytest.mark.parametrize(("code", "dead"), [*((c, True) for c in MENTIONS), *((c, False) for c in READS)])
def test_the_check_sees_an_option_that_is_only_mentioned(sources: dict[str, str], code: str, dead: bool) -> None:
    """A new option, and all that the package would say of it."""
    option = '    shiny: bool = option(False, "whether it shines")\n'
    place = "    every: int = option(10,"
    injected = sources[CONFIG].replace(place, option + place)
    assert injected != sources[CONFIG]
    code = {**MENTIONS, **READS}[code]
    assert ("LogConfig.shiny" in unread([injected, code])) == dead
