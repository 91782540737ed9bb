"""Programs that serve a port of 127.0.0.1: started, and awaited for as long as they live."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

# Twenty times what the slowest needs on an idle machine: who is still alive gets its time.
START_PATIENCE = 300.0  # seconds


def start(command: Sequence[str], port: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program and return it once its port answers.

    Raise RuntimeError, with what it has printed, as soon as it has ended instead.
    """
    with tempfile.TemporaryFile() as log:  # the program keeps it open for itself
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **options)
        try:
            _wait_until_it_answers(process, port, log)
        except BaseException:
            stop(process)
            raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and wait for its end."""
    process.kill()
    process.wait()


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while not _answers(port):
        status = process.poll()
        if status is not None:
            raise RuntimeError(f"{process.args!r} ended with {status}: {_printed(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer: {_printed(log)}")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _printed(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")
