"""Measure how much memory it takes to push and to read an object, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

MEASURED = """
import json, resource, sys
from xclaim.payloads.stores.storage import Storage
location, options, size = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
storage = Storage(location, options=options)
def push(size):
    with storage.create("orders") as writer:
        for _ in range(size):
            writer.write(b"x" * 1024 * 1024)
        return writer.commit()
def read(reference):
    with storage.open(reference) as file:
        while file.read(1024 * 1024):
            pass
read(push(1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read(push(size))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours with the arguments."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
