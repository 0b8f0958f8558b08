"""How long a project of 10,000 pairs takes to open, to accept one more small pair, or a batch.

Also how long it takes to keep 10,000 predictions, which are recorded in batches.

Run with ``python benchmarks/project_10k.py``. The manifest is generated; the files of its pairs are
not needed, since opening a project touches none of them. The seconds of the processor (``cpu``) are
those to compare on a busy machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskloop.project import layout
from maskloop.project.groups import Offer
from maskloop.project.layout import Manifest
from maskloop.project.predictions import Predicted
from maskloop.project.project import ProjectFolder
from maskloop.project.store import changed

PAIRS = 10_000
REPEATS = 10
BATCH = 50
OPEN = """
import sys, time
start = time.perf_counter()
from maskloop.project.project import ProjectFolder
loaded = time.perf_counter()
before = time.process_time()
ProjectFolder.open(sys.argv[1]).status()
print(loaded - start, time.perf_counter() - loaded, time.process_time() - before)
"""


def generate(folder: Path) -> ProjectFolder:
    """A project with a manifest of 10,000 different pairs."""
    project = ProjectFolder.create(folder)
    random = np.random.default_rng(0)
    first = project.dataset.accept(
        random.integers(0, 255, (64, 64), np.uint8), np.eye(64, dtype=np.uint8), name="first"
    )
    pairs = []
    for number in range(1, PAIRS + 1):
        pair_id = f"pair_{number:04d}_{random.bytes(4).hex()}"
        look, pixels = random.bytes(32).hex(), random.bytes(32).hex()
        paths = {
            "image_path": f"{layout.IMAGES}/{pair_id}.tif",
            "mask_path": f"{layout.MASKS}/{pair_id}.tif",
        }
        pairs.append(
            changed(
                first,
                pair_id=pair_id,
                name=f"image {number}",
                group=pair_id,
                perceptual_hash=look,
                pixels_sha256=pixels,
                **paths,
            )
        )
    stamp = layout.now()
    project.record(layout.MANIFEST, Manifest).write(
        Manifest(created_at=stamp, updated_at=stamp, next_pair=PAIRS + 1, pairs=tuple(pairs))
    )
    return project


def spots(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image of 256 x 256 with twenty round spots, and their mask."""
    rows, columns = np.mgrid[:256, :256]
    mask = np.zeros((256, 256), bool)
    for row, column in random.integers(0, 256, (20, 2)):
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < 100
    return (mask * 100 + random.integers(0, 80, mask.shape)).astype(np.uint8), mask


def keep_predictions(folder: Path) -> dict[str, float]:
    """Keep 10,000 small predicted files, as a run does with its labels."""
    project = ProjectFolder.create(folder / "predicted")
    (folder / "run").mkdir()

    def predicted() -> Iterator[Predicted]:
        for number in range(PAIRS):
            file = folder / "run" / f"{number}_labels.tif"
            file.write_bytes(b"%d" % number * 50)
            yield Predicted(file, None, f"{number}.tif", settings={"run_id": "predict_001"})

    start, before = time.perf_counter(), time.process_time()
    project.predictions.register_many(predicted())
    return {
        "keep_predictions_s": round(time.perf_counter() - start, 3),
        "keep_predictions_cpu_s": round(time.process_time() - before, 3),
    }


def accept_batch(project: ProjectFolder) -> dict[str, float]:
    """Record a batch of checked pairs, as an import does every two seconds."""
    random = np.random.default_rng(2)
    offers = [Offer(project.dataset.examine(*spots(random))) for _ in range(BATCH)]
    start, before = time.perf_counter(), time.process_time()
    project.dataset.record(offers)
    return {
        f"accept_{BATCH}_s": round(time.perf_counter() - start, 3),
        f"accept_{BATCH}_cpu_s": round(time.process_time() - before, 3),
    }


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        generate(folder)
        opened = []
        for _ in range(3):
            output = subprocess.run(
                [sys.executable, "-c", OPEN, str(folder)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
            opened.append([float(figure) for figure in output])
        project = ProjectFolder.open(folder)
        random = np.random.default_rng(1)
        accepted = []
        for number in range(REPEATS):
            image, mask = spots(random)
            start, before = time.perf_counter(), time.process_time()
            project.dataset.accept(image, mask, name=f"more {number}")
            accepted.append((time.perf_counter() - start, time.process_time() - before))
        figures = {
            "pairs": PAIRS,
            "manifest_mb": round((folder / layout.MANIFEST).stat().st_size / 1e6, 1),
            "import_s": round(statistics.median(one[0] for one in opened), 3),
            "open_and_status_s": round(statistics.median(one[1] for one in opened), 3),
            "open_and_status_cpu_s": round(statistics.median(one[2] for one in opened), 3),
            "first_accept_s": round(accepted[0][0], 3),
            "accept_s": round(statistics.median(one[0] for one in accepted[1:]), 3),
            "accept_cpu_s": round(statistics.median(one[1] for one in accepted[1:]), 3),
        }
        figures |= accept_batch(project)
        figures |= keep_predictions(Path(scratch))
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
