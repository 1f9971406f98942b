"""A server under load, against the library on the same clips in one process: throughput, latency, lost answers.

    python benchmarks/serve.py FOLDER --requests 2000 --clients 200 --rounds 1

Clips are sent from another process on this machine, which takes processor time from the server too, so throughput is
told by the clock and by processor time (of Linux): that of the library, of the server's processes, and of the clients.
Both are run in turn, a few times, and the median of the ratios is told.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any


def processor_seconds(process: int) -> float:
    """Processor time of a process, in s."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parts_of(server: int, decoders: int) -> dict[str, list[int]]:
    """Processes of a server: those that decode are started first, then the one that computes."""
    lists = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{server}/task").glob("*/children")]
    *_, worker = children = sorted(int(number) for number in " ".join(lists).split())
    return {"server": [server], "decoders": children[-1 - decoders : -1], "worker": [worker]}


async def answered(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Status and object of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), json.loads(await reader.readexactly(int(length.partition(b":")[2])))


async def send(url: str, files: list[Path], clients: int, wanted: dict[Path, str]) -> tuple[list[float], int, int]:
    """Send a request for each file, so many at once: their times in s, wrong answers, and lost ones.

    Requests are made before, and answers read by hand, since a client's library would take as long as the server.
    """
    waiting, times, wrong, lost = iter(files), [], 0, 0
    host, _, port = url.removeprefix("http://").partition(":")
    requests = {}
    for path in dict.fromkeys(files):
        body = path.read_bytes()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests[path] = head.encode() + body

    async def one() -> None:
        nonlocal wrong, lost
        reader, writer = await asyncio.open_connection(host, int(port))
        for path in waiting:
            started = time.monotonic()
            writer.write(requests[path])
            try:
                status, found = await asyncio.wait_for(answered(reader), 300)
            except (OSError, EOFError, asyncio.TimeoutError):
                lost += 1
                reader, writer = await asyncio.open_connection(host, int(port))
                continue
            times.append(time.monotonic() - started)
            wrong += status != 200 or found["clips"][0]["label"] != wanted[path]
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return times, wrong, lost


def predicted(files: list[Path]) -> tuple[dict[Path, str], float, float]:
    """Labels, the time that the library takes, and its processor time, in s."""
    from emotion2vec.checkpoint import load_model
    from emotion2vec.extraction.predict import predict

    model = load_model("compact")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        predict(list(map(str, files[:4])), model=model, output=table, backend="torch")
        started, before = time.monotonic(), time.process_time()
        predict(list(map(str, files)), model=model, output=table, backend="torch")
        seconds, computed = time.monotonic() - started, time.process_time() - before
        with table.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    return {Path(row["file"]): row["label"] for row in rows}, seconds, computed


def started(words: list[str]) -> tuple[subprocess.Popen[str], str]:
    """A server, and where it is."""
    command = [sys.executable, "-m", "emotion2vec", "serve", "--port", "0", "--queue", "100000", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if " on http" in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a reader
            return process, line.rsplit(" ", 1)[1].strip()
    raise SystemExit("the server did not start")


def main() -> None:
    """Measure, and print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--decoders", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix in (".wav", ".flac", ".opus"))
    if not files:
        parser.error(f"{arguments.folder} has no .wav, .flac or .opus files")
    files = (files * (1 + arguments.requests // len(files)))[: arguments.requests]
    clips = list(dict.fromkeys(files))
    process, url = started(["--decoders", str(arguments.decoders)])
    parts = parts_of(process.pid, arguments.decoders)
    ratios, own_ratios = [], []
    try:
        for number in range(arguments.rounds):
            wanted, seconds, computed = predicted(clips)
            alone = len(clips) / seconds
            before = {name: sum(map(processor_seconds, some)) for name, some in parts.items()}
            begun, clients = time.monotonic(), time.process_time()
            times, wrong, lost = asyncio.run(send(url, files, arguments.clients, wanted))
            served = len(files) / (time.monotonic() - begun)
            spent = {name: sum(map(processor_seconds, some)) - before[name] for name, some in parts.items()}
            own_ratios.append(computed / len(clips) / (sum(spent.values()) / len(files)))
            spent["clients"] = time.process_time() - clients
            ratios.append(served / alone)
            ranks = statistics.quantiles(times, n=100) if len(times) > 1 else [float("nan")] * 99
            each = ", ".join(f"{name} {1000 * seconds / len(files):.1f}" for name, seconds in spent.items())
            print(
                f"round {number + 1}: library {alone:.1f} clips/s, server {served:.1f} clips/s, ratio {ratios[-1]:.2f};"
                f" latency p50 {ranks[49]:.2f} s, p95 {ranks[94]:.2f} s, p99 {ranks[98]:.2f} s; "
                f"{wrong} wrong and {lost} lost of {len(files)}; processor ms a clip: library "
                f"{1000 * computed / len(clips):.1f}, {each}; ratio without clients {own_ratios[-1]:.2f}",
                flush=True,
            )
    finally:
        process.terminate()
        process.wait()
    print(f"median ratio {statistics.median(ratios):.2f}, by processor time {statistics.median(own_ratios):.2f}")


if __name__ == "__main__":
    main()
