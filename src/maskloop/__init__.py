"""Annotate, train, predict, correct, again."""
