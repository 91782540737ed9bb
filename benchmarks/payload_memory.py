"""What memory a large payload takes: `python -m benchmarks.payload_memory`, about fifteen minutes.

A file of 1 GiB is pushed by one fresh process, and claimed and read with ``claim.open()`` by
another: into a folder and into S3 (moto's server, a process of its own), as it is, compressed and
encrypted. The peak is that of the whole process with all it has imported (VmHWM, so on Linux);
what it had after a small object is what the client takes anyway. The limit is 200 MiB. The seconds
of S3 are moto's, which reads the whole object for each part that is asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.turns import keep
from xclaim import Payloads, Queue
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate
from xclaim.payloads.stores.storage import Storage

MIB = 1024 * 1024
LIMIT = 200  # MiB
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zstd": {"compression": "zstd"},
    "encrypted": {"keys": "ZjS0Bq8BfEKYxlFSNV1Ibu0vCPyG9kDLzGVw5mZ0m1c="},
    "zstd and encrypted": {
        "compression": "zstd",
        "keys": "ZjS0Bq8BfEKYxlFSNV1Ibu0vCPyG9kDLzGVw5mZ0m1c=",
    },
}


def main() -> None:
    """Measure, print and keep; or be the process that is measured."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        print(json.dumps(_measured(**json.loads(sys.argv[1]))))
        return
    options = _options()
    with tempfile.TemporaryDirectory(prefix="xclaim-large-") as folder, ExitStack() as stack:
        large = Path(folder) / "large.bin"
        _fill(large, options.size)
        url = stack.enter_context(embedded_postgresql(durable=False))
        migrate.upgrade(url)
        for name, place in _places(options.places, Path(folder), stack):
            figures = {kind: _pushed_and_claimed(url, place, kind, large) for kind in options.kinds}
            if not options.quick:
                keep(f"memory, {name}", {"MiB": options.size, "limit": LIMIT, **figures})


def _places(
    names: list[str], folder: Path, stack: ExitStack
) -> Iterator[tuple[str, dict[str, Any]]]:
    if "file" in names:
        yield "file", {"location": f"file://{folder}/objects", "options": {}}
    if "s3" in names:
        from tests.payloads import emulators

        store = stack.enter_context(emulators.s3())
        location = f"s3://{store.new_bucket()}/payloads"
        yield "s3", {"location": location, "options": dict(store.options)}


def _pushed_and_claimed(url: str, place: Mapping[str, Any], kind: str, large: Path) -> Any:
    figures = {}
    for work in ("push", "claim"):
        asked = {"url": url, "place": place, "kind": kind, "work": work, "path": str(large)}
        command = [sys.executable, "-m", "benchmarks.payload_memory", json.dumps(asked)]
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
        figures[work] = json.loads(done.stdout)
        shown = ", ".join(f"{name} {value}" for name, value in figures[work].items())
        print(f"{place['location'][:5]} {kind} {work}: {shown}", flush=True)
    with Queue("large", url, payloads=_payloads(place, kind)) as queue:
        queue.prune(older_than=timedelta(0))
    return figures


def _measured(
    url: str, place: Mapping[str, Any], kind: str, work: str, path: str
) -> dict[str, float]:
    payloads = _payloads(place, kind)
    with Queue("small", url, payloads=payloads) as queue:
        queue.push(bytes(200_000))
        claim = queue.claim()
        if claim is None:
            raise AssertionError("nothing to claim")
        claim.open().read()
        queue.ack(claim)
    had = _memory("VmRSS")
    with Queue("large", url, payloads=payloads) as queue:
        began = time.perf_counter()
        _push(queue, path) if work == "push" else _claim(queue, path)
        took = time.perf_counter() - began
    peak = _memory("VmHWM")
    return {
        "seconds": round(took, 1),
        "peak MiB": round(peak),
        "before MiB": round(had),
        "more MiB": round(peak - had),
    }


def _push(queue: Queue, path: str) -> None:
    with Path(path).open("rb") as large:
        queue.push(large)


def _claim(queue: Queue, path: str) -> None:
    claim = queue.claim()
    if claim is None:
        raise AssertionError("nothing to claim")
    with closing(claim.open()) as payload, Path(path).open("rb") as large:
        if _digest(payload) != _digest(large):
            raise AssertionError("another payload was claimed than was pushed")
    queue.ack(claim)


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := file.read(MIB):
        digest.update(chunk)
    return digest.digest()


def _payloads(place: Mapping[str, Any], kind: str) -> Payloads:
    storage = Storage(place["location"], options=place["options"])
    return Payloads(storage=storage, **KINDS[kind])


def _memory(name: str) -> float:
    """Return MiB of this process. Not ``ru_maxrss``, which begins with that of the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell the memory of a process: it takes Linux")


def _fill(path: Path, size: int) -> None:
    """Write so many MiB, half of which can be compressed."""
    numbers = random.Random(6)  # noqa: S311  (no secret)
    with path.open("wb") as file:
        for _ in range(size):
            file.write(numbers.randbytes(MIB // 2))
            file.write(os.urandom(16) * (MIB // 32))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payload_memory")
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--places", nargs="+", default=["file", "s3"], choices=["file", "s3"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
