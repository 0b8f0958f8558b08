"""Contracts: what a plug-in promises, as tests that it inherits.

A plug-in's test module subclasses a contract and says how to build the thing::

    class TestMySegmenter(SegmenterContract):
        def make_segmenter(self):
            return MySegmenter(...)
"""

from maskloop.testing.backend import BackendContract
from maskloop.testing.formats import FormatContract
from maskloop.testing.measurement import MeasurementContract
from maskloop.testing.segmenter import SegmenterContract
from maskloop.testing.target import TargetContract

__all__ = [
    "BackendContract",
    "FormatContract",
    "MeasurementContract",
    "SegmenterContract",
    "TargetContract",
]
