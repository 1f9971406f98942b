"""Files that are damaged, lie or hold odd samples, sent to a server: what the library reads is answered with the
library's labels, everything else with a sentence, and the server goes on.
"""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from extraction.broken import broken  # noqa: E402
from serve.running import Running  # noqa: E402

from emotion2vec.extraction.predict import predict  # noqa: E402

CLIENTS = 16


@pytest.fixture(params=[30, pytest.param(1, marks=pytest.mark.slow)])
def files(request: pytest.FixtureRequest) -> dict[str, bytes]:
    return broken(request.param)


@pytest.fixture
def expected(files: dict[str, bytes], tmp_path: Path) -> dict[str, dict[str, str]]:
    """Rows that one job of the library gives, by the files' names."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    predict(folder, output=tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as stream:
        return {Path(row["file"]).name: row for row in csv.DictReader(stream)}


def check_row(found: dict[str, object], row: dict[str, str]) -> None:
    """The answer about a file is the row of it."""
    assert found["label"] == row["label"], found["name"]
    for label, score in found["scores"].items():  # type: ignore[attr-defined]
        assert score == pytest.approx(float(row[f"score:{label}"]), abs=1e-4), found["name"]


def test_each_bad_file_gets_a_sentence_or_its_label(
    server: Running, log: Path, files: dict[str, bytes], expected: dict[str, dict[str, str]]
) -> None:
    said = log.stat().st_size
    with server.client as client:

        def post(name: str) -> httpx.Response:
            return client.post("/v1/predict", content=files[name], params={"name": name})

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = dict(zip(files, pool.map(post, files), strict=True))
        assert client.get("/healthz").json() == {"status": "ok"}
    for name, answer in answers.items():
        if answer.status_code == 200:
            check_row(answer.json()["clips"][0], expected.pop(name))
            continue
        sentence = answer.json()["error"]
        assert 400 <= answer.status_code < 500 and list(answer.json()) == ["error"], (name, answer.text)
        assert sentence.startswith(f"{name}: ") and len(sentence) > len(name) + 12, sentence
        assert "Traceback" not in sentence and "\n" not in sentence
    assert not expected  # what the library reads, the server reads too
    refused = sum(answer.status_code != 200 for answer in answers.values())
    assert 0.1 < refused / len(files) < 0.9
    assert server.engine.held_bytes == 0
    assert log.read_bytes()[said:] == b""  # what decoders say of a stranger's file fills no log
    print(f"{len(files)} files: {refused} refused, {len(files) - refused} labelled")


def test_bad_files_beside_good_ones_are_named_and_the_others_answered(
    server: Running, files: dict[str, bytes], expected: dict[str, dict[str, str]]
) -> None:
    names = list(files)
    requests = -(-len(names) // server.engine.limits.max_files)
    with server.client as client:
        for number in range(requests):
            some = names[number::requests]  # of every kind
            answer = client.post("/v1/predict", files=[("file", (name, files[name])) for name in some])
            assert answer.status_code == 200, answer.text
            clips = answer.json()["clips"]
            for found in clips:
                check_row(found, expected.pop(found["name"]))
            assert len(clips) + len(answer.json()["failed"]) == len(some)
        assert client.get("/healthz").json() == {"status": "ok"}
    assert not expected
