"""The command line: one function per verb, one module per group of verbs."""

from maskloop.cli.app import app, main

__all__ = ["app", "main"]
