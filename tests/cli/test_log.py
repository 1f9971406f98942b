"""`--log json`: whatever a verb says on stderr is one JSON object a line, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from networks import TINY

from emotion2vec.cli import main


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.normal(size=16_000), 16_000)
    (folder / "bad.wav").write_text("no audio")
    return folder


def objects(errors: str) -> list[dict[str, Any]]:
    """The objects of stderr, each of which has what all have."""
    found = [json.loads(line) for line in errors.splitlines()]
    now = datetime.now(timezone.utc)
    for one in found:
        assert list(one)[:4] == ["time", "level", "event", "message"] and one["message"]
        assert one["level"] in ("info", "warning", "error")
        assert abs((now - datetime.fromisoformat(one["time"])).total_seconds()) < 300
    return found


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, list[dict[str, Any]]]:
    monkeypatch.setattr(sys, "argv", ["emotion2vec", *map(str, words), "--log", "json"])
    before = sys.stderr
    with pytest.raises(SystemExit) as stopped:
        main()
    assert sys.stderr is before
    return int(stopped.value.code or 0), objects(capsys.readouterr().err)


def test_extract_and_predict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clips: Path, tmp_path: Path
) -> None:
    words = ("extract", clips, "--model", "tiny", "--output", tmp_path / "out")
    code, said = run(monkeypatch, capsys, *words)
    assert code == 1
    events = {one["event"]: one for one in said}
    assert (events["progress"]["done"], events["progress"]["total"], events["progress"]["failed"]) == (5, 5, 1)
    assert events["progress"]["seconds"] == pytest.approx(4)
    assert events["failed"]["where"].endswith("bad.wav") and events["failed"]["level"] == "warning"
    assert (events["done"]["written"], events["done"]["output"]) == (4, str(tmp_path / "out"))
    assert (said[-1]["event"], said[-1]["found"], said[-1]["done"]) == ("summary", 5, 4)
    code, said = run(monkeypatch, capsys, "predict", clips, "--output", tmp_path / "rows.csv")
    assert code == 1 and said[-1]["event"] == "summary"


def test_training_and_preparing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clips: Path, tmp_path: Path
) -> None:
    more = [f"data.train={clips}", f"run.dir={tmp_path / 'run'}", "data.max_bad_share=0.5", "log.every=1"]
    code, said = run(monkeypatch, capsys, "pretrain", *TINY, *more)
    assert code == 0
    progress = [one for one in said if one["event"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (4, 4) and progress[-1]["metrics"]["loss"] > 0
    (done,) = (one for one in said if one["event"] == "done")
    assert done["updates"] == 4
    code, said = run(monkeypatch, capsys, "prepare", clips, tmp_path / "shards", "--workers", 1)
    assert code == 1
    assert [one["event"] for one in said[-2:]] == ["failed", "summary"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "nowhere", "--output", "out"], "nowhere"),
        (["extract", "a.wav", "--nope"], "nope"),
        (["pretrain", "optim.lr=x"], "optim.lr"),
        (["probe", "--table", "none.csv"], "no such file"),
    ],
)
def test_mistakes_are_objects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, said = run(monkeypatch, capsys, *words)
    assert (code, said[-1]["level"], said[-1]["event"], said[-1]["exit_code"]) == (2, "error", "error", 2)
    assert message in said[-1]["message"]


def test_faults_of_ours_are_objects_with_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emotion2vec.extraction.engine.run", lambda *args, **options: 1 / 0)
    code, (said,) = run(monkeypatch, capsys, "extract", "a.wav")
    assert (code, said["event"], said["level"]) == (1, "error", "error")
    assert "ZeroDivisionError" in said["message"] and "engine" not in said["message"]
    assert said["traceback"].startswith("Traceback")


def test_an_unknown_form_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["emotion2vec", "extract", "a.wav", "--log", "xml"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: log is 'xml', expected text or json\n"


STRAY = """
import os, sys, warnings, logging
from emotion2vec.cli.log import json_log, say
with json_log():
    os.write(2, b"from C\\n")
    print("half", end="", file=sys.stderr)
    print(" and half", file=sys.stderr)
    warnings.warn("careful")
    logging.getLogger("x").warning("so-so %d", 3)
    os.system("echo from a child >&2")
    say("two\\nlines", event="told", path=os.curdir)
    sys.stderr.write("no end of line")
print("as before", file=sys.stderr)
"""


def test_what_libraries_and_children_write_becomes_objects() -> None:
    done = subprocess.run([sys.executable, "-c", STRAY], capture_output=True, text=True)
    *lines, last = done.stderr.splitlines()
    said = {one["message"]: one for one in objects("\n".join(lines))}
    assert last == "as before"
    assert {"from C", "half and half", "so-so 3", "from a child", "two\nlines", "no end of line"} <= set(said)
    assert any("careful" in message for message in said)
    assert said["two\nlines"]["path"] == "." and said["so-so 3"]["level"] == "warning"
