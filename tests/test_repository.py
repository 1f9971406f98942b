"""What stands beside the code names what is there: templates, the workflow, the image, how to cite, what changed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from emotion2vec.version import __version__

ROOT = Path(__file__).resolve().parents[1]
YAML = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / "compose.yaml", ROOT / "CITATION.cff"]
OURS = re.compile(
    r"(?<![\w/$.*-])(?!docs/_build/)((?:\.ci|\.github|examples|tests|docs|configs|checkpoints|benchmarks|emotion2vec)/[\w./-]+\w"
    r"|[\w-]+\.(?:txt|toml|md|cff|py|ya?ml)|Makefile|Dockerfile)\b"
)
"""Paths of this repository, in a text; not of what is built into it."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load(read(name))


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_can_be_read_and_names_what_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    built = "docs/_build/"  # by the workflow itself
    assert [name for name in OURS.findall(text) if not name.startswith(built) and not (ROOT / name).exists()] == []


def test_paths_are_found_in_texts() -> None:
    text = 'run: .ci/run a/b.txt\n  - see SECURITY.md and "tests/no_such.py", dist/*.whl, $TEMP/x.py, docs/_build/html'
    assert OURS.findall(text) == [".ci/run", "SECURITY.md", "tests/no_such.py"]


def test_the_workflow_runs_what_a_change_must_pass_on_all_systems() -> None:
    jobs = loaded(".github/workflows/tests.yml")["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert [one.split("-")[0] for one in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"] and 'requires-python = ">=3.10"' in read(
        "pyproject.toml"
    )
    assert jobs["tests"]["steps"][-1]["run"] == ".ci/run" and jobs["tests"]["defaults"]["run"]["shell"] == "bash"
    makefile = read("Makefile")
    for name in ("PYTHON", "CONSTRAINTS"):  # which the workflow sets
        assert name in jobs["tests"]["env"] and re.search(rf"^{name} \?=", makefile, re.MULTILINE)
    for job in jobs.values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            script = re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))
            assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("name", ["bug", "feature", "question"])
def test_forms_of_issues_ask_something(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    ids = [field.get("id") for field in form["body"] if field["type"] != "markdown"]
    assert ids and len(set(ids)) == len(ids) and None not in ids
    for field in form["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert field["attributes"].get("label" if field["type"] != "markdown" else "value")
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_citation_is_of_this_version() -> None:
    """The keys that the format, 1.2.0, demands."""
    citation = loaded("CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and str(citation["version"]) == __version__
    assert citation["message"] and citation["title"] and citation["authors"]
    for reference in citation["references"]:
        assert reference["type"] and reference["title"] and reference["authors"]
    assert f'version = "{__version__}"' in read("pyproject.toml") and 'license = "MIT"' in read("pyproject.toml")
    assert citation["license"] == "MIT"


def test_the_changes_name_this_version_and_every_command() -> None:
    from typer.main import get_command

    from emotion2vec.cli import app

    text = read("CHANGELOG.md")
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == __version__
    named = set(re.findall(r"`([a-z]+)", text))
    assert set(get_command(app).commands) <= named  # type: ignore[attr-defined]


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with what they are given."""
    lines = [line for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_built_from_what_is_let_through() -> None:
    let_through = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = {source for word, rest in instructions() if word == "COPY" for source in rest.split()[:-1]}
    assert copied == let_through and all((ROOT / name).exists() for name in copied)
    given = {word: rest for word, rest in instructions()}
    service = loaded("compose.yaml")["services"]["emotion2vec"]
    assert service["build"] == "." and service["ports"] == [f"127.0.0.1:{given['EXPOSE']}:{given['EXPOSE']}"]
    assert given["USER"] != "root" and f":{given['EXPOSE']}/healthz" in given["HEALTHCHECK"]
    for text in (given["ENTRYPOINT"], service["environment"]["EMOTION2VEC_TOKEN"]):
        assert "${EMOTION2VEC_TOKEN:?" in text  # neither starts without
