"""Object stores for the tests, each started when it is first asked for. None is ever skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.payloads import emulators
from tests.payloads.emulators import Emulator

# The run on SQLAlchemy 2.0 has none of the clouds' clients.
collect_ignore_glob = [] if importlib.util.find_spec("s3fs") else ["test_storage_*.py"]


@pytest.fixture(scope="session")
def s3() -> Iterator[Emulator]:
    with emulators.s3() as store:
        yield store


@pytest.fixture(scope="session")
def gcs() -> Iterator[Emulator]:
    with emulators.gcs() as store:
        yield store


@pytest.fixture(scope="session")
def azure() -> Iterator[Emulator]:
    with emulators.azure() as store:
        yield store
