"""Torture a queue: `python -m tests.torture`, for two minutes unless told otherwise."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from tests.torture import report
from tests.torture.run import Settings, run


def main() -> int:
    """Run, print the summary, write it; return 1 if a promise was broken."""
    settings = _settings()
    print(f"seed {settings.seed}, {settings.minutes} minutes", flush=True)
    summary = run(settings, lambda line: print(line, flush=True))
    (settings.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = report.text(summary)
    (settings.output / "summary.txt").write_text(text + "\n")
    print(text)
    print(f"written: {settings.output}/summary.json", file=sys.stderr)
    return 1 if summary["violation_counts"] else 0


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults (2)")
    parser.add_argument("--workers", type=int, default=8, help="consumers (8)")
    parser.add_argument("--seed", type=int, default=None, help="of the faults (random)")
    parser.add_argument(
        "--messages-per-second",
        type=float,
        default=200.0,
        help="pushed; 0: as many as can be (200)",
    )
    parser.add_argument(
        "--pause", type=float, default=0.6, help="seconds between two faults, on average (0.6)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("tests/torture/output"),
        help="folder for the summary and the logs",
    )
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1_000_000)
    return Settings(**vars(options))


if __name__ == "__main__":
    sys.exit(main())
