"""The Training Project Folder; the only package that knows its paths."""
