"""What maskloop remembers in ``layer.metadata``, besides the axes."""

from __future__ import annotations

__all__ = ["IMAGE", "PAIR", "PROJECT", "SHOWN", "SOURCE"]

IMAGE = "maskloop_image"
"""The image that a mask was drawn on, as `belonging.key_of` names it."""
PAIR = "maskloop_pair"
"""The pair that is shown."""
PROJECT = "maskloop_project"
"""The folder of its project."""
SHOWN = "maskloop_shown"
"""Tells the images that one layer shows one after the other apart."""
SOURCE = "source_path"
"""The file that an image came from."""
