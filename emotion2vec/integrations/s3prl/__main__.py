"""S3PRL's `run_downstream.py`, with our upstreams among those that `-u` takes."""

from __future__ import annotations

import sys

from emotion2vec.integrations.s3prl import register


def main() -> None:
    """Run S3PRL; everything on the command line is its own."""
    try:
        register()
        from s3prl.run_downstream import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; install S3PRL with: pip install s3prl 'huggingface_hub<1' torchaudio tensorboardX")
    run()


if __name__ == "__main__":
    main()
