from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.payloads import emulators
from tests.payloads.emulators import Emulator
from tests.payloads.storage_contract import CloudStorageContract, Place, check_unreachable

pytestmark = pytest.mark.emulator


@pytest.fixture
def place(gcs: Emulator) -> Place:
    return Place(url=f"{gcs.scheme}://{gcs.new_bucket()}/payloads", options=dict(gcs.options))


class TestGcs(CloudStorageContract):
    many = 200  # the emulator lists and deletes in quadratic time

    def options_to(self, port: int) -> dict[str, Any]:
        return {"token": "anon", "endpoint_url": f"http://127.0.0.1:{port}"}

    def another_server(self) -> AbstractContextManager[Emulator]:
        return emulators.gcs()


def test_no_permission_is_said(gcs: Emulator) -> None:
    forbidden = Place(url="gs://forbidden/payloads", options=dict(gcs.options))

    check_unreachable(forbidden.storage(), "permissions")
