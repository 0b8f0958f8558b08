"""Pixels: axes, files, normalisation, masks, tiles, instances.

Knows nothing of projects and models.
"""
