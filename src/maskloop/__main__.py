"""``python -m maskloop`` is the command line."""

from __future__ import annotations

from maskloop.cli import main

if __name__ == "__main__":
    main()
