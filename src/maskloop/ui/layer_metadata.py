"""What maskloop remembers in ``layer.metadata``, besides the axes."""

from __future__ import annotations

__all__ = ["IMAGE", "PAIR", "PROJECT", "SOURCE"]

IMAGE = "maskloop_image"
"""The image that a mask was drawn on."""
PAIR = "maskloop_pair"
"""The pair that is shown."""
PROJECT = "maskloop_project"
"""The folder of its project."""
SOURCE = "source_path"
"""The file that an image came from."""
