"""The command line: one verb, one typed function; everything heavy is imported inside the verb."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import nullcontext
from typing import Annotated, Any, NoReturn

import typer

from emotion2vec.cli.benchmark import benchmark
from emotion2vec.cli.convert import convert
from emotion2vec.cli.demo import demo
from emotion2vec.cli.distil import distil
from emotion2vec.cli.export import export
from emotion2vec.cli.extract import extract
from emotion2vec.cli.finetune import finetune
from emotion2vec.cli.finetune_average import average
from emotion2vec.cli.finetune_evaluate import evaluate
from emotion2vec.cli.finetune_report import report
from emotion2vec.cli.finetune_search import search
from emotion2vec.cli.info import info
from emotion2vec.cli.iterate import iterate
from emotion2vec.cli.keys import commands, with_keys
from emotion2vec.cli.log import asks_json, json_log, say, says_json, with_log
from emotion2vec.cli.plot import plot
from emotion2vec.cli.predict import predict
from emotion2vec.cli.prepare import prepare
from emotion2vec.cli.pretrain import pretrain
from emotion2vec.cli.probe import probe
from emotion2vec.cli.serve import serve
from emotion2vec.cli.visualize import visualize
from emotion2vec.disk import FULL
from emotion2vec.errors import Emotion2vecError
from emotion2vec.stopping import PREEMPTED, Terminated, raising_terminated
from emotion2vec.version import __version__

CommandError: Any = typer.BadParameter.__mro__[2]
"""What a command line raises that cannot be read: Click's, which Typer may carry within itself."""

app = typer.Typer(
    name="emotion2vec",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emotion2vec {__version__}")
        raise typer.Exit


@app.callback()
def _every_verb(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Pretrain emotion2vec on unlabeled speech, extract frozen features, and probe them."""


def under_finetune() -> dict[str, Any]:
    """Commands after the word `finetune`."""
    keys = with_keys("emotion2vec.finetune.search.plan", "SearchPlan")
    tested = with_keys("emotion2vec.finetune.evaluation.plan", "EvaluationPlan")
    return commands(search=(search, keys), average=(average, None), evaluate=(evaluate, tested), report=(report, None))


_of_clusters = {"Keys with objective: clusters": ("emotion2vec.clusters.config", "ClusterConfig")}
app.command(cls=with_keys("emotion2vec.pretrain.config", "PretrainConfig", further=_of_clusters))(with_log(pretrain))
app.command(cls=with_keys("emotion2vec.distil.config", "DistilConfig"))(with_log(distil))
app.command(cls=with_keys("emotion2vec.finetune.config", "FinetuneConfig", under_finetune))(with_log(finetune))
app.command(cls=with_keys("emotion2vec.iterate.config", "IteratePlan"))(with_log(iterate))
_of_systems = {"Keys of systems": ("emotion2vec.systems.plan", "SystemsPlan")}
app.command(cls=with_keys("emotion2vec.probe.benchmark.plan", "BenchmarkPlan", further=_of_systems))(benchmark)
for verb in (prepare, extract, predict, probe, serve, demo):
    app.command()(with_log(verb))
for verb in (plot, visualize, info, convert, export):
    app.command()(verb)


def main() -> None:
    """Run the command line: mistakes of the user become a message on stderr and exit code 2, never a traceback.

    So do faults of the disk; SIGTERM is exit code 75, when what was done is on disk.
    """
    with json_log() if asks_json(sys.argv[1:]) else nullcontext():
        _run()


def _run() -> None:
    try:
        with raising_terminated():
            sys.exit(app(prog_name="emotion2vec", standalone_mode=not says_json()) or 0)
    except CommandError as error:  # text shows it in a box
        _leave(f"error: {error.format_message()}", error.exit_code)  # type: ignore[attr-defined]
    except Emotion2vecError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        done = "written" if error.errno in FULL else "used"
        what = f"{error.filename}: cannot be {done}" if error.filename else "the disk"
        _leave(f"error: {what}: {error.strerror}", 2)
    except Terminated:
        _leave("stopped by SIGTERM", PREEMPTED)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Exception as error:
        if not says_json():
            raise
        say(f"{type(error).__name__}: {error}", level="error", event="error", traceback=traceback.format_exc())
        sys.exit(1)


def _leave(text: str, code: int) -> NoReturn:
    """Say why, and exit."""
    say(text, level="error", event="error", exit_code=code)
    try:
        sys.stdout.flush()
    except OSError:  # nobody takes it: Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
