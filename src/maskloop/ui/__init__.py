"""The window in napari: the whole loop in one dock."""
