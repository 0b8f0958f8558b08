"""Which objects touch: neighbors, the length of the contact, and clusters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.base import Column, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record

__all__ = ["NEIGHBORS", "Neighbors"]


class _Contacts(NamedTuple):
    """Pairs of objects that touch, the smaller one first, each pair once per axis."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    axis: NDArray[np.int64]
    faces: NDArray[np.int64]


class Neighbors:
    """Touching neighbors, and the clusters that touching objects form.

    Objects touch where two of their pixels share an edge (in volumes a face).
    """

    name = "neighbors"

    class Settings(Record):
        """Nothing to choose."""

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills."""
        unit = "um2" if scene.is_volume else "um"
        faces = "faces of voxels" if scene.is_volume else "edges of pixels"
        return (
            Column(name="neighbors", description="Number of touching objects."),
            Column(
                name="interface_px",
                unit="px",
                description=f"Number of {faces} shared with other objects.",
            ),
            Column(
                name=f"interface_{unit}",
                unit=unit,
                description="Length (3D: area) of the interface with other objects.",
            ),
            Column(
                name="cluster",
                unit="id",
                description="Cluster of touching objects, named by the smallest object id in it.",
            ),
            Column(name="cluster_size", description="Number of objects in the cluster."),
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        contacts = _find_contacts(frame)
        unit = "um2" if len(frame.shape) == 3 else "um"
        sizes = np.array(frame.pixel_size_um or (np.nan,) * len(frame.shape))
        # A face across an axis extends along all other axes.
        face_um = (sizes.prod() / sizes)[contacts.axis]
        # A pair may touch along several axes and is still one neighbor.
        keys = np.unique(contacts.first * frame.count + contacts.second)
        pairs = np.divmod(keys, frame.count)
        clusters = _clusters(pairs, frame.count)
        # Ids ascend, so the first object of a cluster has its smallest id.
        first = np.unique(clusters, return_index=True)[1]
        return {
            "neighbors": _of_both(*pairs, np.ones(len(keys)), frame.count).astype(np.int64),
            "interface_px": _of_both(
                contacts.first, contacts.second, contacts.faces, frame.count
            ).astype(np.int64),
            # Without a pixel size not even an interface of no length: the column is left empty.
            f"interface_{unit}": _of_both(
                contacts.first, contacts.second, contacts.faces * face_um, frame.count
            )
            + 0 * sizes[0],
            "cluster": frame.ids[first][clusters],
            "cluster_size": np.bincount(clusters)[clusters],
        }


def _find_contacts(frame: ObjectFrame) -> _Contacts:
    found = []
    labels = frame.labels
    for axis in range(labels.ndim):
        lower = np.moveaxis(labels, axis, 0)[:-1]
        upper = np.moveaxis(labels, axis, 0)[1:]
        # Shared corners do not count: a checkerboard of objects has no interface.
        touching = (lower != upper) & (lower != 0) & (upper != 0)
        sides = np.sort(frame.owners_of(np.stack([lower[touching], upper[touching]])), axis=0)
        # A pair as one number: NumPy sorts these much faster than columns.
        pairs, faces = np.unique(sides[0] * frame.count + sides[1], return_counts=True)
        first, second = np.divmod(pairs, frame.count)
        found.append(_Contacts(first, second, np.full(len(faces), axis), faces))
    return _Contacts(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _of_both(
    first: NDArray[Any], second: NDArray[Any], amounts: NDArray[Any], count: int
) -> NDArray[np.float64]:
    """What a contact amounts to, added up for the objects on both sides of it."""
    sums = np.bincount(first, amounts, count) + np.bincount(second, amounts, count)
    return sums.astype(np.float64, copy=False)


def _clusters(pairs: tuple[NDArray[np.int64], NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """The number of the cluster of each object."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


NEIGHBORS = Neighbors()
