"""NPY: the array of NumPy, mapped; it keeps neither axes nor pixel size."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.formats.base import LabelSink, SinkSpec
from maskloop.images.formats.damage import reading
from maskloop.images.formats.files import hash_file, refuse_empty_file, refuse_part
from maskloop.images.formats.pixels import Pixels, native, settle_axes
from maskloop.images.formats.staged import StagedSink
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef
from maskloop.records import write_whole

__all__ = ["NPY", "NpyFormat"]

RUN_BYTES = 1 << 20


class NpyFormat:
    """NumPy's own files. Two dimensions are YX; of more, a person must name the axes."""

    name = "npy"
    endings = (".npy",)
    written_endings = endings

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether the first bytes are NumPy's."""
        return head.startswith(b"\x93NUMPY")

    def items(self, uri: str) -> tuple[ImageRef, ...]:
        """The array itself."""
        return (ImageRef(uri=uri),)

    def levels(self, ref: ImageRef) -> int:
        """One: full resolution."""
        return 1

    def open(self, ref: ImageRef) -> Image:
        """Map the array."""
        return settle_axes(ref, _read(ref))

    def open_labels(self, ref: ImageRef) -> Image:
        """Map the array."""
        return self.open(ref)

    def identity(self, ref: ImageRef) -> str:
        """SHA-256 of the file."""
        return hash_file(ref.path)

    def create(self, path: Path, spec: SinkSpec) -> LabelSink:
        """Any type and axes."""
        return StagedSink(path, spec, _write)


NPY = NpyFormat()


def _read(ref: ImageRef) -> Pixels:
    refuse_part(ref)
    path = ref.path
    refuse_empty_file(path)
    with reading(path):
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject or 0 in shape or dtype.kind not in "buif":
            # Refused by its type or shape later; such a file is never mapped, let alone unpickled.
            nothing = (0,) if 0 in shape else (1,) * len(shape)
            return Pixels(np.empty(nothing, dtype), "?" * len(shape))
        data: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    # Two dimensions are rows and columns by convention; of more, nobody can know.
    return Pixels(native(data), "YX" if data.ndim == 2 else "?" * data.ndim)


def _write(path: Path, image: Image, dtype: np.dtype[Any], spec: SinkSpec) -> None:
    with write_whole(path) as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": image.shape}
        np.lib.format.write_array_header_1_0(file, header)
        row_bytes = max(1, prod(image.shape[1:]) * dtype.itemsize)
        # Written in runs of rows: the pixels may be larger than memory.
        rows = max(1, RUN_BYTES // row_bytes)
        for top in range(0, image.shape[0], rows):
            file.write(np.ascontiguousarray(image.data[top : top + rows], dtype).tobytes())
