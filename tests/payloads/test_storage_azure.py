from __future__ import annotations

import base64
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.payloads import emulators
from tests.payloads.emulators import Emulator
from tests.payloads.storage_contract import CloudStorageContract, Place, check_unreachable

pytestmark = pytest.mark.emulator


@pytest.fixture
def place(azure: Emulator) -> Place:
    return Place(url=f"{azure.scheme}://{azure.new_bucket()}/payloads", options=dict(azure.options))


class TestAzure(CloudStorageContract):
    def options_to(self, port: int) -> dict[str, Any]:
        return emulators.azure_options(f"http://127.0.0.1:{port}/devstoreaccount1")

    def another_server(self) -> AbstractContextManager[Emulator]:
        return emulators.azure()


def test_no_permission_is_said(azure: Emulator, place: Place) -> None:
    wrong_key = base64.b64encode(b"hunter2" * 9).decode()
    options = emulators.azure_options(azure.endpoint, wrong_key)

    check_unreachable(Place(url=place.url, options=options).storage(), "permission denied: grant")
