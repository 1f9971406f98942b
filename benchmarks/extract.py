"""Time extraction from audio files on disk to features on disk, against FunASR and Hugging Face's Data2VecAudio.

All get the same files and a network of the same size; FunASR gets the very same weights, in its own layout. Beside the
engines, the ONNX graphs that FunASR and we export of these weights run in onnxruntime. They take turns, round after
round, so that whatever else the machine does hits all of them.

python benchmarks/extract.py [--threads 1] [--files 24] [--rounds 5] [--seconds 3] [--int8]

Needs `pip install funasr transformers onnxruntime onnx onnxscript` for the peers; one that is missing is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from emotion2vec.audio import load_audio, normalize
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.convert import convert
from emotion2vec.checkpoint.export import export
from emotion2vec.config import Emotion2vecConfig
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.options import backend_faults, check_options
from emotion2vec.model.encoder import Emotion2vec

Run = Callable[[list[Path], Path], None]


def write_audio(folder: Path, files: int, seconds: float) -> list[Path]:
    """Write noise in bursts, of lengths around `seconds`, as 16 kHz wavs."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(files):
        samples = int(16_000 * seconds * rng.uniform(0.7, 1.3))
        envelope = np.abs(np.sin(np.arange(samples) / rng.uniform(500, 1500)))
        paths.append(folder / f"{index:04d}.wav")
        soundfile.write(paths[-1], 0.3 * envelope * rng.standard_normal(samples), 16_000, subtype="FLOAT")
    return paths


def ours(model: Emotion2vec, precision: str, backend: str = "torch") -> Run:
    """Our engine."""
    check_options(backend_faults(backend, precision, None))

    def run(paths: list[Path], out: Path) -> None:
        report = extract(paths, model=model, output=out, precision=precision, backend=backend, workers=1)
        assert not report.failed, report.failed

    return run


def funasr(folder: Path, threads: int) -> Run:
    """FunASR's AutoModel.generate, which writes one .npy per file itself."""
    from funasr import AutoModel

    model = AutoModel(model=str(folder), disable_update=True, ncpu=threads, disable_pbar=True, log_level="ERROR")

    def run(paths: list[Path], out: Path) -> None:
        for path in paths:
            model.generate(str(path), output_dir=str(out), granularity="frame", extract_embedding=True)

    return run


def run_graph(path: Path, threads: int, *, lengths: bool) -> Run:
    """A graph in onnxruntime, one file at a time; it normalizes, and `lengths` are an input of ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name

    def run(paths: list[Path], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            waveform = load_audio(path)
            inputs = {first: waveform[None]} | ({"lengths": np.array([waveform.size])} if lengths else {})
            np.save(out / f"{path.stem}.npy", session.run([session.get_outputs()[0].name], inputs)[0][0])

    return run


def our_graph(folder: Path, threads: int, *, int8: bool = False) -> Run:
    """The graph that `emotion2vec export` writes."""
    path = folder / ("int8.onnx" if int8 else "fp32.onnx")
    return run_graph(export(folder / "native", path, int8=int8).output, threads, lengths=True)


def funasr_graph(folder: Path, threads: int) -> Run:
    """The graph that FunASR itself exports, by the tracer that it was written for."""
    from funasr import AutoModel

    model = AutoModel(model=str(folder / "funasr"), disable_update=True, ncpu=threads, disable_pbar=True)
    exporter = torch.onnx.export
    torch.onnx.export = partial(exporter, dynamo=False)
    try:
        model.export(type="onnx", device="cpu", output_dir=str(folder / "funasr_graph"))
    finally:
        torch.onnx.export = exporter
    return run_graph(folder / "funasr_graph" / "emotion2vec", threads, lengths=False)  # which has no suffix


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the peers print and log out of the table."""
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def data2vec() -> Run:
    """Hugging Face's Data2VecAudio of the base size with random weights, one file at a time."""
    from transformers import Data2VecAudioConfig, Data2VecAudioModel

    model = Data2VecAudioModel(Data2VecAudioConfig()).eval()

    def run(paths: list[Path], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            for path in paths:
                waveform = torch.from_numpy(normalize(load_audio(path))).unsqueeze(0)
                np.save(out / f"{path.stem}.npy", model(waveform).last_hidden_state[0].numpy())

    return run


def competitors(folder: Path, threads: int, int8: bool) -> dict[str, Run]:
    """Everything that can run here, by name."""
    torch.manual_seed(0)
    network = Emotion2vec(Emotion2vecConfig(), labels=["angry", "neutral"])
    save_model(folder / "native", network.config, network.state_dict(), labels=["angry", "neutral"])
    convert(folder / "native", folder / "funasr", to="funasr")
    model = load_model(folder / "native")
    runs = {"ours fp32": ours(model, "fp32"), "ours bf16": ours(model, "bf16")}
    peers: dict[str, Callable[[], Run]] = {
        "ours, onnxruntime": partial(ours, model, "fp32", "onnx"),
        "ours ONNX": partial(our_graph, folder, threads),
        **({"ours ONNX int8": partial(our_graph, folder, threads, int8=True)} if int8 else {}),
        "FunASR": partial(funasr, folder / "funasr", threads),
        "FunASR ONNX": partial(funasr_graph, folder, threads),
        "HF Data2VecAudio": data2vec,
    }
    for name, make in peers.items():
        try:
            with quiet():
                runs[name] = make()
        except (ImportError, ConfigError) as error:
            print(f"{name}: left out, {error}")
    torch.set_num_threads(threads)  # the peers set it too
    return runs


def compare(folder: Path, paths: list[Path]) -> None:
    """Say how near the features are to ours in fp32."""
    for name in ("ours bf16", "ours, onnxruntime", "ours ONNX", "ours ONNX int8", "FunASR", "FunASR ONNX"):
        pairs = [
            (np.load(folder / "ours fp32" / f"{path.stem}.npy"), np.load(folder / name / f"{path.stem}.npy"))
            for path in paths
            if (folder / name / f"{path.stem}.npy").exists()
        ]
        if pairs:
            cosines = [(a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) for a, b in pairs]
            difference = max(float(np.abs(a - b).max()) for a, b in pairs)
            least = min(float(c.min()) for c in cosines)
            print(f"{name}: lowest cosine of a frame to ours in fp32 {least:.6f}, largest difference {difference:.1e}")


def main() -> None:
    """Print times real time (median over rounds) by wall clock and by processor time, and ratios to FunASR."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--int8", action="store_true", help="also our graph with weights in int8")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "audio").mkdir()
        paths = write_audio(folder / "audio", options.files, options.seconds)
        audio = sum(soundfile.info(path).duration for path in paths)
        runs = competitors(folder, options.threads, options.int8)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for round in range(options.rounds + 1):
            for name, run in runs.items():
                wall, processor = time.perf_counter(), time.process_time()
                with quiet():
                    run(paths, folder / name)
                if round:  # the first one warms up
                    times[name].append((time.perf_counter() - wall, time.process_time() - processor))
        print(f"{options.threads} threads, {options.files} files, {audio:.0f} s of audio, {options.rounds} rounds")
        print(f"{'':<18}{'× real time':>12}{'by CPU time':>12}{'vs FunASR':>11}{'by CPU time':>12}")
        for name, rounds in times.items():
            speeds = [audio / statistics.median(column) for column in zip(*rounds, strict=True)]
            line = f"{name:<18}{speeds[0]:>12.1f}{speeds[1]:>12.1f}"
            if "FunASR" in times:
                for column in range(2):
                    ratios = [f[column] / o[column] for f, o in zip(times["FunASR"], rounds, strict=True)]
                    line += f"{statistics.median(ratios):>{11 + column}.2f}"
            print(line)
        compare(folder, paths)


if __name__ == "__main__":
    main()
