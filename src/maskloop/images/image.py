"""An image: lazy pixels with named axes, pixel size and channel names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import AxesError
from maskloop.images.axes import parse_axes, reorder, spatial_axes

__all__ = ["ArrayLike", "Frame", "Image"]


class ArrayLike(Protocol):
    """What pixels must offer, as NumPy, dask and zarr arrays, memory maps and lazy readers do."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Image:
    """Pixels with named axes. Knows nothing of files and projects.

    Parameters
    ----------
    data
        Any array with shape, dtype and slicing; read only when asked for.
    axes
        One letter of TCZYX per dimension.
    pixel_size_um
        Micrometers per pixel along Z, Y, X, where known.
    channel_names
        One name per channel, where known.
    name
        What to call the image in messages.
    notes
        What a person may want to know of how the file was read, such as alpha that was left out.
    """

    data: ArrayLike
    axes: str
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    name: str = "image"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Frozen, but axes that a person typed in small letters are brought to capitals.
        object.__setattr__(self, "axes", parse_axes(self.axes, self.data.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths in the order of `axes`."""
        return tuple(int(length) for length in self.data.shape)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis by its letter."""
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def channels(self) -> int:
        """Number of channels; one when there is no C axis."""
        return self.sizes.get("C", 1)

    @property
    def spatial_axes(self) -> str:
        """ZYX or YX."""
        return spatial_axes(self.axes)

    def read(self, axes: str | None = None) -> NDArray[Any]:
        """All pixels as a NumPy array with the given axes (this image's own by default)."""
        return reorder(np.asarray(self.data[...]), self.axes, axes or self.axes)

    def frames(self, spatial_dims: int) -> Iterator[tuple[dict[str, int], NDArray[Any]]]:
        """Pieces that a model sees as one image, read one at a time.

        Parameters
        ----------
        spatial_dims
            2: each T and Z apart, arrays CYX. 3: each T apart, arrays CZYX.

        Yields
        ------
        index, pixels
            Where the piece lies (such as ``{"T": 3, "Z": 0}``), and its pixels with the channel
            first.

        Raises
        ------
        AxesError
            If three dimensions are asked of an image without Z.
        """
        for frame in self.lazy_frames(spatial_dims):
            yield dict(frame.index), frame.read()

    def lazy_frames(self, spatial_dims: int) -> Iterator[Frame]:
        """As `frames`, but each piece can be read in parts.

        Raises
        ------
        AxesError
            If three dimensions are asked of an image without Z.
        """
        if spatial_dims == 3 and "Z" not in self.axes:
            raise AxesError(
                f"'{self.name}' has axes {self.axes} and no Z, but the model is three-dimensional.",
                "Select a 2D model, or name the axes if this is a stack (--axes ZYX).",
            )
        # A 2D model sees Z like T: as one plane after another.
        spatial = "ZYX"[-spatial_dims:]
        outer = [letter for letter in self.axes if letter not in f"C{spatial}"]
        for place in product(*(range(self.sizes[letter]) for letter in outer)):
            yield Frame(self, dict(zip(outer, place, strict=True)), spatial)


@dataclass(frozen=True)
class Frame:
    """One plane or volume of an image, as a model sees it: read in parts, the channel first.

    Parameters
    ----------
    image
        Whose frame it is.
    index
        Where it lies along the other axes, such as ``{"T": 3, "Z": 0}``.
    spatial
        Its axes: YX or ZYX.
    """

    image: Image
    index: Mapping[str, int]
    spatial: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then the lengths of its axes."""
        return (self.image.channels, *(self.image.sizes[letter] for letter in self.spatial))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.image.data.dtype

    @property
    def nbytes(self) -> int:
        """Size of all its pixels in memory."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self, region: Sequence[slice] | None = None) -> NDArray[Any]:
        """Pixels (C, *spatial) of a region, or of the whole frame.

        Parameters
        ----------
        region
            One slice per spatial axis.
        """
        # Indices come before reading, so that a lazy array reads no more than this frame.
        key: dict[str, Any] = dict(self.index)
        key |= dict(zip(self.spatial, region or (), strict=False))
        axes = self.image.axes
        piece = self.image.data[tuple(key.get(letter, slice(None)) for letter in axes)]
        left = "".join(letter for letter in axes if letter not in self.index)
        return reorder(np.asarray(piece), left, f"C{self.spatial}")
