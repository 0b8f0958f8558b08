"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Small networks are quickest on one thread, and threads that wait for each other on a busy machine are slow beyond measure.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotated images that lies beside a checkout, or named by MASKLOOP_DATA."""
    folder = Path(os.environ.get("MASKLOOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip("the real annotated images (shared/data, or the folder named by MASKLOOP_DATA) are not here")
    return folder
