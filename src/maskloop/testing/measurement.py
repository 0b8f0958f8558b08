"""What a table of objects relies on in a measurement, as tests."""

from __future__ import annotations

from maskloop.measure import check
from maskloop.measure.base import Measurement

__all__ = ["MeasurementContract"]


class MeasurementContract:
    """What `measure_objects` relies on in any measurement."""

    def make_measurement(self) -> Measurement:
        """The measurement to test."""
        raise NotImplementedError

    def test_its_settings_are_a_record_with_defaults(self) -> None:
        """Nobody has to choose anything, and the choices can be written down."""
        check.check_settings(self.make_measurement())

    def test_its_columns_are_described_and_unique(self) -> None:
        """Each has a name of its own and says what it holds."""
        check.check_columns(self.make_measurement())

    def test_it_fills_its_columns_with_one_value_per_object(self) -> None:
        """What it returns is what it promised: planes, volumes, any number of channels."""
        check.check_values(self.make_measurement())

    def test_it_leaves_physical_columns_empty_where_the_pixel_size_is_unknown(self) -> None:
        """A length in micrometers is never made up."""
        check.check_unknown_pixel_size(self.make_measurement())

    def test_labels_may_have_gaps_and_be_large(self) -> None:
        """Values follow the objects, whatever their numbers are."""
        check.check_ids(self.make_measurement())

    def test_it_gives_the_same_values_again(self) -> None:
        """Nothing is left over from the frame before."""
        check.check_repeats(self.make_measurement())
