"""Fuzz the decoders with atheris, coverage-guided: `python -m tests.fuzz [seconds]`.

Ends with the input that made one raise anything but an error of ours. atheris is in the extra
`fuzz`; the suite does the same with fewer inputs, by Hypothesis.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports():  # the standard library's decoders are a part of ours
    import json  # noqa: F401

    from tests.fuzz import decoders

DEFAULT_SECONDS = 60


def main() -> None:
    """Feed every decoder with each input."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_SECONDS
    with tempfile.TemporaryDirectory() as corpus:
        for number, (decoder, seed) in enumerate(decoders.seeds()):
            first = bytes([decoders.ALL.index(decoder)])
            (Path(corpus) / f"seed{number}").write_bytes(first + seed)
        arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=2048", corpus]
        atheris.Setup(arguments, decode)
        atheris.Fuzz()


def decode(data: bytes) -> None:
    """Hand the input to the decoder that its first byte chooses."""
    chosen, rest = data[:1], data[1:]
    decoders.ALL[(chosen or b"\x00")[0] % len(decoders.ALL)](rest)


if __name__ == "__main__":
    main()
