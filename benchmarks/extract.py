"""Time extraction from audio files on disk to features on disk, against FunASR and Hugging Face's Data2VecAudio.

All get the same files and a network of the same size; FunASR gets the very same weights, in its own layout. Beside the
engines, the ONNX graphs that FunASR and we export of these weights run in onnxruntime. They take turns, round after
round, so that whatever else the machine does hits all of them.

python benchmarks/extract.py [--threads 1] [--files 24] [--rounds 5] [--seconds 3] [--precisions fp32 bf16 int8]

Each side's time appears as it is measured. `network fp32` is our network alone, on audio in memory; `plain fp32` our
engine around the same network without any special path (benchmarks/plain.py). With `--against plain` that is what the
ratios are to, no peer runs, and the exit code is 1 where ours is slower in float32.

Needs `pip install funasr transformers onnxruntime onnx onnxscript` for the peers; one that is missing is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from plain import plain_network

from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.exporting.export import export
from emotion2vec.extraction import extract
from emotion2vec.extraction.options import ComputeOptions, check_options
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.cpu.packing import packed
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.processors import instruction_sets, processor

Run = Callable[[list[Path], Path], None]
Times = dict[str, list[tuple[float, float]]]
"""Seconds by the clock and of processor time of each round, by side."""

FUNASR, PLAIN = "FunASR", "plain fp32"


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
    check_options(ComputeOptions(precision=precision, backend=backend).backend_faults())

    def run(paths: list[Path], out: Path) -> None:
        report = extract(paths, model=model, output=out, precision=precision, backend=backend, workers=1)
        assert not report.failed, report.failed

    return run


def plain(model: Emotion2vec) -> Run:
    """Our engine around a network without special paths."""

    def run(paths: list[Path], out: Path) -> None:
        with plain_network():
            ours(model, "fp32")(paths, out)

    return run


def network_alone(model: Emotion2vec) -> Run:
    """Our network, packed, one clip at a time from memory to memory: what is left is the engine's share."""
    waveforms: dict[Path, torch.Tensor] = {}

    def run(paths: list[Path], out: Path) -> None:
        if not waveforms:  # in the round that warms up
            waveforms.update({path: torch.from_numpy(normalize(load_audio(path))).unsqueeze(0) for path in paths})
        with torch.inference_mode(), packed(model, torch.float32):
            for path in paths:
                model(waveforms[path])

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


def competitors(folder: Path, threads: int, precisions: list[str], against: str) -> dict[str, Run]:
    """Everything that can run here, by name."""
    torch.manual_seed(0)
    network = Emotion2vec(Emotion2vecConfig(), labels=["angry", "neutral"])
    save_model(folder / "native", network.config, network.state_dict(), labels=["angry", "neutral"])
    convert(folder / "native", folder / "funasr", to="funasr")
    model = load_model(folder / "native")
    runs = {f"ours {precision}": ours(model, precision) for precision in precisions} | {PLAIN: plain(model)}
    runs["network fp32"] = network_alone(model)
    peers: dict[str, Callable[[], Run]] = {
        "ours, onnxruntime": partial(ours, model, "fp32", "onnx"),
        "ours ONNX": partial(our_graph, folder, threads),
        **({"ours ONNX int8": partial(our_graph, folder, threads, int8=True)} if "int8" in precisions else {}),
        FUNASR: partial(funasr, folder / "funasr", threads),
        "FunASR ONNX": partial(funasr_graph, folder, threads),
        "HF Data2VecAudio": data2vec,
    }
    for name, make in peers.items() if against == "peers" else []:
        try:
            with quiet():
                runs[name] = make()
        except (ImportError, ConfigError) as error:
            print(f"{name}: left out, {error}")
    torch.set_num_threads(threads)  # the peers set it too
    return runs


def compare(folder: Path, paths: list[Path]) -> None:
    """Say how near the features are to ours in fp32."""
    others = (PLAIN, "ours, onnxruntime", "ours ONNX", "ours ONNX int8", FUNASR, "FunASR ONNX")
    for name in ("ours bf16", "ours int8", *others):
        pairs = [
            (np.load(folder / "ours fp32" / f"{path.stem}.npy"), np.load(folder / name / f"{path.stem}.npy"))
            for path in paths
            if (folder / name / f"{path.stem}.npy").exists()
        ]
        if pairs:
            cosines = [(a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) for a, b in pairs]
            difference = max(float(np.abs(a - b).max()) for a, b in pairs)
            least = min(float(c.min()) for c in cosines)
            mean = float(np.concatenate(cosines).mean())
            print(f"{name}: cosine of frames to ours in fp32 {mean:.6f} in the mean and {least:.6f} at least,", end=" ")
            print(f"largest difference {difference:.1e}")


def measure(runs: dict[str, Run], paths: list[Path], folder: Path, rounds: int, audio: float) -> Times:
    """Let the sides take turns, and print what each took as it is known; the first round warms up."""
    times: Times = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            with quiet():
                run(paths, folder / name)
            took = time.perf_counter() - wall, time.process_time() - processor
            print(f"  round {number}: {name} {audio / took[0]:.2f} × real time", file=sys.stderr, flush=True)
            if number:
                times[name].append(took)
    return times


def ratios(times: Times, name: str, reference: str) -> list[float]:
    """How many times faster than the reference a side is, by the clock and by processor time, medians of rounds."""
    pairs = list(zip(times[reference], times[name], strict=True))
    return [statistics.median(theirs[column] / mine[column] for theirs, mine in pairs) for column in range(2)]


def report(times: Times, audio: float, reference: str) -> None:
    """Print times real time (median over rounds) by wall clock and by processor time, and ratios to the reference."""
    print(f"| side | × real time | by CPU time | times {reference} | by CPU time |\n| --- | --- | --- | --- | --- |")
    for name, rounds in times.items():
        speeds = [audio / statistics.median(column) for column in zip(*rounds, strict=True)]
        cells = [name, *(f"{speed:.2f}" for speed in speeds)]
        cells += [f"{ratio:.2f}" for ratio in ratios(times, name, reference)] if reference in times else ["", ""]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="of ours: fp32, bf16, int8")
    parser.add_argument("--against", choices=["peers", "plain"], default="peers")
    options = parser.parse_args()
    if "fp32" not in options.precisions:
        parser.error("--precisions needs fp32, which the others are compared with")
    torch.set_num_threads(options.threads)
    reference = PLAIN if options.against == "plain" else FUNASR
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "audio").mkdir()
        paths = write_audio(folder / "audio", options.files, options.seconds)
        audio = sum(soundfile.info(path).duration for path in paths)
        runs = competitors(folder, options.threads, options.precisions, options.against)
        print(f"{processor()} ({' '.join(instruction_sets())}), {options.threads} threads")
        print(f"{options.files} files, {audio:.0f} s of audio, {options.rounds} rounds", flush=True)
        times = measure(runs, paths, folder, options.rounds, audio)
        report(times, audio, reference)
        compare(folder, paths)
    if options.against == "plain" and ratios(times, "ours fp32", PLAIN)[1] < 1:
        sys.exit("ours fp32 is slower than the plain network")


if __name__ == "__main__":
    main()
