"""Thousands of damaged files: each is read, or refused in words, at once and in little memory."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from mutations import good_files, mutate

from maskloop.errors import MaskloopError
from maskloop.images.formats.pixels import is_pixel_size
from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels

MOST_S, MOST_MB = 2.0, 300
READ_WHOLE_BYTES = 64_000_000


def memory_mb() -> float:
    """The most that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def look_at(image: Image) -> None:
    """What listing and prediction do with an image: facts, and pixels of a region."""
    assert all(is_pixel_size(size) for size in image.pixel_size_um.values())
    if np.prod(image.shape, dtype=float) * image.data.dtype.itemsize <= READ_WHOLE_BYTES:
        assert image.read().shape == image.shape
    else:
        np.asarray(image.data[tuple(slice(0, 8) for _ in image.shape)])


def try_mutations(folder: Path, seeds: range) -> int:
    """How many of the mutated files could still be opened."""
    good, opened = good_files(), 0
    names = list(good)
    for seed in seeds:
        random = np.random.default_rng(seed)
        name = names[random.integers(len(names))]
        path = folder / name
        path.write_bytes(mutate(good[name], random))
        # Of the processor, not of the clock: other programs are not at fault.
        begin, memory = time.process_time(), memory_mb()
        for open_file in (open_image, open_labels):
            with contextlib.suppress(MaskloopError):
                look_at(open_file(path))
                opened += 1
        spent = time.process_time() - begin, memory_mb() - memory
        assert spent[0] < MOST_S, f"seed {seed}: {spent}"
        assert spent[1] < MOST_MB, f"seed {seed}: {spent}"
    return opened


@pytest.mark.parametrize("name", good_files())
def test_the_good_files_open(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(good_files()[name])
    assert open_image(path).read().size


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    # Most are refused; if all were, nothing would be learned.
    assert try_mutations(tmp_path, range(400)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 21_000, 5000))
def test_thousands_of_mutated_files_are_read_or_refused(tmp_path: Path, start: int) -> None:
    assert try_mutations(tmp_path, range(start, start + 5000)) > 500
