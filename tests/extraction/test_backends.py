"""onnxruntime in place of PyTorch: the same numbers, graphs that are kept and never stale, and when `auto` takes it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import clip, speech, tiny_model
from tables import rows_of, scores_of
from typer.testing import CliRunner

import emotion2vec
from emotion2vec import hardware
from emotion2vec.audio.windows import Chunking
from emotion2vec.cli import app
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.agreement import Agreement, check
from emotion2vec.exporting.network import NetworkPath
from emotion2vec.exporting.onnx import open_onnx
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode import backends, graphs
from emotion2vec.extraction.encode.backends import choose_graph
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.graphs import GraphNetwork, build_graph, find_graph
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.predict import predict
from emotion2vec.extraction.sources.decoding import AudioFault
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import MeanLinear
from emotion2vec.version import library_version

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

LABELS = ("angry", "happy")
LENGTHS = {"a.wav": 8_000, "b.wav": 8_000, "c.wav": 8_000, "short.wav": 400, "d.wav": 31_111, "long.wav": 150_000}
LONG_JOB = Workload(last_block=True, seconds=36_000.0)


@pytest.fixture(scope="module")
def model() -> Emotion2vec:
    model = tiny_model()
    model.head = MeanLinear(model.config.width, len(LABELS), labels=LABELS)
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of graphs that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


class StandIn:
    """What a graph is traced from, in place of a session that runs the graph."""

    def __init__(self, model: Emotion2vec):
        self._path = NetworkPath(model)

    @torch.inference_mode()
    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        waveforms, lengths = (torch.from_numpy(inputs[name]) for name in ("waveforms", "lengths"))
        return [output.numpy() for output in self._path(waveforms, lengths)]


def write_stand_in(model: Emotion2vec, target: Path) -> Agreement:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"graph of the network")
    return Agreement(1e-6, 1.0)


@pytest.fixture
def built(cache: Path, model: Emotion2vec, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's graph, built by whichever test needs it first; that takes some 15 s."""
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(cache))
    return find_graph(model) or build_graph(model)


@pytest.fixture(params=["stand-in", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def kept(request: pytest.FixtureRequest, model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The graph, or in the quick tests what it is traced from."""
    if request.param == "onnxruntime":
        return request.getfixturevalue("built")
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(graphs, "open_session", lambda path, threads, *, spinning=True: StandIn(model))
    monkeypatch.setattr(graphs, "write_network", write_stand_in)
    return build_graph(model)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        soundfile.write(folder / name, speech(samples, seed), 16_000, subtype="FLOAT")
    return folder


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# The same numbers


@pytest.mark.parametrize("pooling", ["mean+std", "tokens"])
def test_features_are_those_of_pytorch(
    kept: Path, model: Emotion2vec, corpus: Path, tmp_path: Path, threads: int, pooling: str
) -> None:
    """Clips alone, clips of one length in a batch, one frame, and long audio in windows."""
    for backend in ("torch", "onnx"):
        options: dict[str, Any] = {"granularity": "both", "pooling": pooling, "chunk_seconds": 4, "chunk_overlap": 2}
        report = extract(corpus, model=model, output=tmp_path / backend, backend=backend, **options)
        assert (report.backend, report.written, report.failed) == (backend, len(LENGTHS), [])
    arrays = sorted((tmp_path / "torch").glob("*.npy"))
    assert len(arrays) >= len(LENGTHS)
    for expected in arrays:
        found = np.load(tmp_path / "onnx" / expected.name)
        assert np.abs(found - np.load(expected)).max() < 1e-4
    assert json.loads((tmp_path / "torch/job.json").read_text()) == json.loads((tmp_path / "onnx/job.json").read_text())


def test_scores_and_features_in_memory_are_those_of_pytorch(
    kept: Path, model: Emotion2vec, corpus: Path, tmp_path: Path
) -> None:
    rows = {}
    for backend in ("torch", "onnx"):
        report = predict(corpus, model=model, output=tmp_path / f"{backend}.jsonl", backend=backend)
        assert report.backend == backend
        rows[backend] = {row["file"]: scores_of(row) for row in rows_of(tmp_path / f"{backend}.jsonl")}
    for name, scores in rows["torch"].items():
        assert rows["onnx"][name] == pytest.approx(scores, abs=1e-4)
    paths = [corpus / name for name in LENGTHS]
    for path, found in zip(paths, emotion2vec.extract_features(paths, model=model, backend="onnx"), strict=True):
        assert np.abs(found.frames - model.extract_features(path).frames).max() < 1e-4


def test_padding_does_not_show(kept: Path, model: Emotion2vec) -> None:
    clips = [clip(samples, index) for index, samples in enumerate((16_000, 400, 7_777))]
    encoder = Encoder(model, FeatureChoice(), precision="fp32", chunking=Chunking(), graph=GraphNetwork(kept))
    for one, arrays in zip(clips, encoder.encode(clips), strict=True):
        (alone,) = Encoder(model, FeatureChoice(), precision="fp32", chunking=Chunking()).encode([one])
        assert np.abs(arrays["frames"].whole() - alone["frames"].whole()).max() < 1e-4


def test_a_job_of_one_backend_is_resumed_by_the_other(
    kept: Path, model: Emotion2vec, corpus: Path, tmp_path: Path
) -> None:
    assert extract(corpus / "a.wav", model=model, output=tmp_path / "out").backend == "torch"
    report = extract(corpus, model=model, output=tmp_path / "out", backend="onnx", resume=True)
    assert (report.written, report.skipped, report.backend) == (len(LENGTHS) - 1, 1, "onnx")


def test_weights_are_not_packed_beside_a_graph(kept: Path, model: Emotion2vec) -> None:
    with ready_model(model, None, "auto", backend="onnx") as ready:
        assert ready.precision == "fp32" and ready.graph is not None
        assert not any(getattr(module, "is_packed", False) for module in model.modules())


# Threads and memory


def test_threads_are_divided_among_lanes(
    kept: Path, model: Emotion2vec, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that run the graph count: with as many lanes as threads, each runs it alone."""
    opened = []
    monkeypatch.setattr(graphs, "open_session", lambda path, threads, *, spinning: opened.append((threads, spinning)))
    encoder = Encoder(model, FeatureChoice(), precision="fp32", chunking=Chunking(), graph=GraphNetwork(kept))
    assert [encoder.lanes(clips) for clips in (1, 2, 100)] == [1, min(2, threads), threads]
    assert opened == ([(1, True)] * 3 if threads == 1 else [(3, True), (2, False), (1, False)])


def test_memory_that_does_not_suffice_costs_a_clip(kept: Path, model: Emotion2vec) -> None:
    class Full:
        def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            raise Exception("Failed to allocate memory for requested buffer of size 9")

    graph = GraphNetwork(kept)
    graph._session = Full()
    encoder = Encoder(model, FeatureChoice(), precision="fp32", chunking=Chunking(), graph=graph)
    (fault,) = encoder.encode_safely([clip(16_000)])
    assert isinstance(fault, AudioFault) and "do not fit into memory" in fault.reason


def test_subnormal_numbers_are_flushed_only_in_the_graph(kept: Path) -> None:
    graph = GraphNetwork(kept)
    graph(torch.zeros(1, 4000), torch.tensor([4000]))
    assert torch.tensor(1e-40).mul(1.0).item() > 0


# What is kept


def test_a_graph_is_built_once_and_said(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(tmp_path))
    written = []
    write = lambda model, target: written.append(target) or write_stand_in(model, target)  # noqa: E731
    monkeypatch.setattr(graphs, "write_network", write)
    path = build_graph(model)
    assert caplog.text.count("building the model's graph") == 1 and f"built {path} in 0 s" in caplog.text
    assert find_graph(model) == build_graph(model) == path and len(written) == 1
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"graph of the netwerk")
    assert find_graph(model) is None and not path.exists()
    assert build_graph(model) == path and len(written) == 2
    assert find_graph(tiny_model()) is None  # without a head it is another model
    for name in ("_code", "processor", "library_version"):
        with monkeypatch.context() as patch:
            patch.setattr(graphs, name, lambda *_: "9")
            assert find_graph(model) is None
    assert find_graph(model) == path


@pytest.mark.slow
def test_a_graph_is_compared_with_its_network(built: Path, model: Emotion2vec) -> None:
    graph, other = open_onnx(built), tiny_model()
    assert check(model, graph, NetworkPath).difference < 1e-4
    with torch.no_grad():
        other.backbone.tokens[0, 0] += 0.01
    with pytest.raises(
        CheckpointError, match=r"differ from the model's by .* expected at most 1e-04; nothing was kept"
    ):
        check(other, graph, NetworkPath)


# Mistakes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"backend": "tf"}, "backend is 'tf', expected auto, torch, onnx"),
        ({"backend": "onnx", "precision": "bf16"}, "computes in fp32, and precision is 'bf16'; expected fp32"),
        ({"backend": "onnx", "layers": "0,1"}, "gives the last block's output; expected layers last, features block"),
        ({"backend": "onnx", "features": "ffn"}, "gives the last block's output; expected layers last"),
        ({"backend": "onnx", "engine": "ray"}, "backend is 'onnx', which needs engine local"),
    ],
)
def test_what_a_graph_does_not_serve_is_refused(
    options: dict[str, Any], expected: str, model: Emotion2vec, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=expected):
        extract(corpus, model=model, output=tmp_path / "out", **options)
    if set(options) <= {"backend", "precision"}:
        with pytest.raises(ConfigError, match=expected):
            predict(corpus, model=model, **options)
        with pytest.raises(ConfigError, match=expected):
            emotion2vec.extract_features(corpus / "a.wav", model=model, **options)


def test_a_missing_package_is_named_or_not_missed(
    model: Emotion2vec,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("emotion2vec.exporting.onnx.find_spec", lambda name: None)
    command = r"backend onnx needs onnx, onnxscript, onnxruntime: pip install 'emotion2vec\[onnx\]'"
    with pytest.raises(ConfigError, match=command):
        extract(corpus, model=model, output=tmp_path / "out", backend="onnx")
    with caplog.at_level(logging.DEBUG, logger="emotion2vec"):
        assert choose_graph("auto", model, LONG_JOB) is None
    assert not caplog.records


def test_a_device_or_folder_that_cannot_be_used(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tiny_model().to("meta")
    with pytest.raises(ConfigError, match="computes on the CPU, and device is meta; expected cpu"):
        choose_graph("onnx", elsewhere, LONG_JOB)
    assert choose_graph("auto", elsewhere, LONG_JOB) is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot be kept there: .*; EMOTION2VEC_CACHE may name another"):
        choose_graph("onnx", model, LONG_JOB)


def test_the_command_says_what_computed(kept: Path, model: Emotion2vec, corpus: Path, tmp_path: Path) -> None:
    emotion2vec.checkpoint.save_model(tmp_path / "m", model.config, model.state_dict(), labels=LABELS)
    command = ["extract", str(corpus / "a.wav"), "--model", str(tmp_path / "m"), "--output", str(tmp_path / "out")]
    assert (
        f"written to {tmp_path / 'out'} by onnxruntime"
        in CliRunner().invoke(app, [*command, "--backend", "onnx"]).output
    )
    assert "onnxruntime" not in CliRunner().invoke(app, command).output


# What `auto` decides


@pytest.mark.parametrize(
    ("job", "products", "kept_before", "gain_before", "gain", "expected"),
    [
        (LONG_JOB, 1.3, False, None, 1.5, "built"),
        (LONG_JOB, 1.3, False, None, 1.1, "built, not used"),
        (LONG_JOB, 1.1, True, None, 1.5, "torch"),  # products alone tell that it cannot pay
        (LONG_JOB, 1.3, False, 1.1, 9.0, "torch"),  # known to be slower
        (LONG_JOB, 1.3, False, 1.5, 9.0, "built"),  # known to be faster
        (Workload(last_block=True, seconds=500.0), 1.3, False, 1.5, 1.5, "torch"),  # 33 s would be gained
        (Workload(last_block=True, seconds=500.0), 1.3, True, None, 1.5, "used"),
        (Workload(last_block=True, unknown=100_000), 1.3, False, 1.5, 1.5, "torch"),
        (Workload(last_block=True, unknown=100), 1.3, True, 1.5, 1.5, "used"),
        (Workload(last_block=True, unknown=50), 1.3, True, 1.5, 1.5, "torch"),
        (Workload(last_block=False, seconds=36_000.0), 1.3, True, 1.5, 1.5, "torch"),
    ],
)
def test_auto_takes_what_was_measured_and_builds_where_it_pays(
    job: Workload,
    products: float,
    kept_before: bool,
    gain_before: float | None,
    gain: float,
    expected: str,
    model: Emotion2vec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = []
    monkeypatch.setattr(backends, "product_gain", lambda inputs, outputs: products)
    monkeypatch.setattr(backends, "find_graph", lambda model: Path("kept.onnx") if kept_before else None)
    monkeypatch.setattr(backends, "build_graph", lambda model: built.append(1) or Path("built.onnx"))
    monkeypatch.setattr(backends, "known", lambda name: gain_before)
    monkeypatch.setattr(backends, "remembered", lambda name, find: gain if gain_before is None else gain_before)
    monkeypatch.setattr(backends, "_cost", lambda model: 0.2)
    graph = choose_graph("auto", model, job)
    assert bool(built) == expected.startswith("built")
    assert (graph is not None) == (expected in ("built", "used"))
    assert choose_graph("torch", model, job) is None


def test_auto_goes_on_without_a_graph_that_cannot_be_built(
    model: Emotion2vec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(model: Emotion2vec) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backends, "product_gain", lambda inputs, outputs: 2.0)
    monkeypatch.setattr(backends, "_cost", lambda model: 0.2)
    monkeypatch.setattr(backends, "find_graph", lambda model: None)
    monkeypatch.setattr(backends, "build_graph", fail)
    assert choose_graph("auto", model, LONG_JOB) is None
    assert "onnxruntime cannot be used in place of PyTorch: [Errno 28] No space left on device" in caplog.text


def test_products_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(tmp_path))
    monkeypatch.setattr(hardware, "_chosen", {})
    assert 0.01 < backends.product_gain(64, 96) < 100
    assert backends.product_gain(64, 96) == hardware.known(
        f"gain of onnxruntime {library_version('onnxruntime')} for products of 64 and 96 channels"
    )
    one = backends._one_product(torch.zeros(96, 64))  # other numbers than the weight's
    monkeypatch.setattr(backends, "_one_product", lambda weight: one)
    assert backends._measure_products(64, 96) == 0


@pytest.mark.slow
def test_networks_are_measured(built: Path, model: Emotion2vec) -> None:
    assert 0 < backends._cost(model) < 1
    assert backends._measure_networks(model, built) > 0
    other = tiny_model()
    with torch.no_grad():
        other.backbone.alibi_scale.mul_(3)
    assert backends._measure_networks(other, built) == 0
