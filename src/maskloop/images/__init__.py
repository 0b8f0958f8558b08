"""Pixels: axes, files, normalization, masks, tiles, instances.

Knows nothing of projects and models.
"""
