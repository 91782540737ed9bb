"""``python -m xclaim`` is the command ``xclaim``."""

from __future__ import annotations

from xclaim.cli import main

main()
