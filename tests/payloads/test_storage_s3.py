from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.payloads import emulators
from tests.payloads.emulators import Emulator
from tests.payloads.memory import MEASURED, run
from tests.payloads.storage_contract import CloudStorageContract, Place, check_unreachable, push
from xclaim.payloads.stores import remote
from xclaim.payloads.stores.references import parse_location

pytestmark = pytest.mark.emulator


@pytest.fixture
def place(s3: Emulator) -> Place:
    return Place(url=f"{s3.scheme}://{s3.new_bucket()}/payloads", options=dict(s3.options))


class TestS3(CloudStorageContract):
    def options_to(self, port: int) -> dict[str, Any]:
        return {"key": "test", "secret": "hunter2", "endpoint_url": f"http://127.0.0.1:{port}"}

    def another_server(self) -> AbstractContextManager[Emulator]:
        return emulators.s3()


@pytest.fixture
def forbidden(s3: Emulator, place: Place) -> Iterator[Place]:
    """A bucket that the credentials do not open."""
    push(place.storage(), b"x")
    _check_credentials_after(s3, "0")
    yield Place(url=place.url, options=place.options | {"key": "AKIAOTHER", "secret": "hunter2"})
    _check_credentials_after(s3, "inf")


def _check_credentials_after(s3: Emulator, actions: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{s3.endpoint}/moto-api/reset-auth",
        data=actions.encode(),
        headers={"Content-Type": "application/octet-stream"},
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def test_no_permission_is_said(forbidden: Place) -> None:
    check_unreachable(forbidden.storage(), "permission denied: grant")


def test_a_large_object_is_pushed_and_read_with_little_memory(place: Place) -> None:
    options = json.dumps(dict(place.options))

    assert int(run(MEASURED, place.url, options, "100").stdout) < 100


def test_the_users_options_stand_above_ours(place: Place) -> None:
    own = {"config_kwargs": {"connect_timeout": 1}}

    files = remote.file_system(parse_location(place.url), dict(place.options) | own)

    assert files.config_kwargs["connect_timeout"] == 1
    assert files.config_kwargs["retries"] == {"total_max_attempts": 3}
