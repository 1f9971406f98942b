"""Files mapped into memory: tensors that are read when they are used, and whose pages can be given back."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.budget import check_shape
from emotion2vec.documents import MOST_JSON, parse_json
from emotion2vec.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


class MappedFile:
    """A file in memory, page by page; what is written to its tensors never reaches the file."""

    def __init__(self, path: Path):
        with path.open("rb") as stream:
            self.pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)

    def __len__(self) -> int:
        return len(self.pages)

    def release(self) -> None:
        """Give back the memory of the pages read so far; the tensors stay valid, and are read again when used."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)

    def numbers(self, dtype: torch.dtype, offset: int, count: int) -> Tensor:
        """A tensor (count,) over the file from byte `offset`; a copy where the file does not align its numbers."""
        import torch

        if count == 0:
            return torch.empty(0, dtype=dtype)
        if offset % dtype.itemsize == 0:
            return torch.frombuffer(self.pages, dtype=dtype, count=count, offset=offset)
        return torch.frombuffer(bytearray(self.pages[offset : offset + count * dtype.itemsize]), dtype=dtype)


def map_safetensors(path: Path) -> tuple[dict[str, Tensor], MappedFile]:
    """Map the tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated, of another format, or holds numbers of a type that no model has.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as stream:
            header_size = int.from_bytes(stream.read(8), "little")
        if header_size > MOST_JSON and path.stat().st_size > MOST_JSON:
            raise CheckpointError(f"{path}: a header of {header_size:,} bytes, expected at most {MOST_JSON:,}")
        with safe_open(path, framework="pt"):
            pass  # the library checks the header, the offsets in it and the file's size
        file = MappedFile(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, expected the weights of the model") from error
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise CheckpointError(
            f"{path}: {size} bytes that are no complete safetensors file ({error}); it may be truncated"
        ) from error
    start = 8 + int.from_bytes(file.pages[:8], "little")
    header = parse_json(file.pages[8:start])
    header.pop("__metadata__", None)
    other = [f"{name} {facts['dtype']}" for name, facts in header.items() if facts["dtype"] not in _SAFETENSORS_DTYPES]
    if other:
        raise CheckpointError(
            f"{path}: weights of other types than {', '.join(_SAFETENSORS_DTYPES)}: {', '.join(other)}"
        )
    for facts in header.values():
        check_shape(facts["shape"], len(file))
    tensors = {
        name: file.numbers(
            getattr(torch, _SAFETENSORS_DTYPES[facts["dtype"]]),
            start + facts["data_offsets"][0],
            math.prod(facts["shape"]),
        ).view(facts["shape"])
        for name, facts in header.items()
    }
    return tensors, file
