"""The model that a run leaves: its best checkpoint, as a model folder of its own right in the run folder."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from emotion2vec.checkpoint.heard import HEARD_FILE
from emotion2vec.checkpoint.native import CONFIG_FILE, WEIGHTS_FILE, newest_checkpoint
from emotion2vec.errors import StorageError
from emotion2vec.files import complete_file
from emotion2vec.training.run_folder import CHECKPOINTS, RunFolder


def best_update(folder: RunFolder) -> int | None:
    """The update that scored best in validation, the later one of two; None before any is saved."""
    newest = newest_checkpoint(folder.path)
    if newest is None:
        return None
    kept = {update: score for update, score in folder.scores().items() if _checkpoint(folder, update).is_dir()}
    if not kept:
        return int(newest.name.removeprefix("update_"))
    return max(kept, key=lambda update: (kept[update], update))


def _checkpoint(folder: RunFolder, update: int) -> Path:
    return folder.path / CHECKPOINTS / f"update_{update:08d}"


def publish(folder: RunFolder, update: int) -> None:
    """Make the run folder a model folder, whose model is that of an update; the description comes last.

    Raises:
        StorageError: the disk does not take it.
    """
    source = _checkpoint(folder, update)
    try:
        for name in (HEARD_FILE, WEIGHTS_FILE, CONFIG_FILE):
            if (source / name).is_file():
                with complete_file(folder.path / name) as partial:
                    shutil.copyfile(source / name, partial)
    except OSError as error:
        raise StorageError(f"run.dir {folder.path}: the best model could not be written: {error}") from error


def withdraw(folder: Path) -> None:
    """Before a run goes on: what an earlier end of it left is no longer its model."""
    with suppress(FileNotFoundError):
        (folder / CONFIG_FILE).unlink()
