"""The image: its commands are carried out here, in an environment of their own, where there is no Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import copied, environment, tracked

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from serve.running import wait_until  # noqa: E402

OF_THE_SYSTEM = ("useradd",)
"""Commands that are not carried out: they would change this machine."""


@pytest.fixture(scope="module")
def instructions(root: Path) -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, with what they are given."""
    lines = [line for line in (root / "Dockerfile").read_text("utf-8").splitlines() if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def installed(
    root: Path, instructions: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Variables under which the commands of the image are found, after those that build it."""
    folder = tmp_path_factory.mktemp("image")
    python, app = environment(folder / "python", network=True), folder / "app"
    app.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMOTION2VEC", "PIP"))}
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    # What it wants is here already, so that nothing is asked of an index.
    variables = {**kept, "PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    for word, rest in instructions:
        if word == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif word == "COPY":
            *sources, _ = rest.split()
            copied(root, app, [name for name in tracked(root) if {name, name.partition("/")[0]} & set(sources)])
        elif word == "RUN" and not rest.startswith(OF_THE_SYSTEM):
            done = subprocess.run(["sh", "-c", rest], cwd=app, env=variables, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    yield variables | {"HOME": str(folder)}


def command(instructions: list[tuple[str, str]], name: str, port: int) -> list[str]:
    """A command of the image, with another port."""
    text = dict(instructions)[name]
    assert "8000" in text
    return list(json.loads(text[text.index("[") :].replace("8000", str(port))))


@pytest.mark.slow
def test_the_image_does_not_serve_without_a_token(
    instructions: list[tuple[str, str]], installed: dict[str, str], tmp_path: Path
) -> None:
    words = command(instructions, "ENTRYPOINT", 0)
    done = subprocess.run(words, cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert done.returncode == 2 and "set it to the token that requests must bear" in done.stderr


@pytest.mark.slow
def test_the_image_serves_whoever_has_the_token(
    instructions: list[tuple[str, str]], installed: dict[str, str], tmp_path: Path, sample_speech: Path
) -> None:
    variables = installed | {"EMOTION2VEC_TOKEN": "a secret"}
    words = [*command(instructions, "ENTRYPOINT", 0), "--decoders", "1"]
    clip, log = (sample_speech / "en1_angry_1.opus").read_bytes(), tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(words, cwd=tmp_path, env=variables, stderr=stream, text=True)
    try:
        wait_until(lambda: process.poll() is not None or "serving" in log.read_text())
        found = re.search(r"serving compact on http://.*:(\d+)", log.read_text())
        assert found is not None, log.read_text()
        port = int(found[1])
        check = command(instructions, "HEALTHCHECK", port)
        assert subprocess.run(check, env=variables, capture_output=True).returncode == 0
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            assert client.post("/v1/predict", content=clip).status_code == 401
            answer = client.post("/v1/predict", content=clip, headers={"Authorization": "Bearer a secret"})
        assert answer.status_code == 200 and answer.json()["clips"][0]["label"]
    finally:
        process.terminate()
        process.wait(60)
    said = log.read_text()
    assert process.returncode == 0 and said.splitlines()[-1] == "stopped"
    assert "everybody who reaches" not in said  # since a token is asked for
