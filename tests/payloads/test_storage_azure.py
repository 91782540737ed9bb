from __future__ import annotations

import pytest

from tests.payloads.emulators import Emulator
from tests.payloads.storage_contract import Place, SharedStorageContract


@pytest.fixture
def place(azure: Emulator) -> Place:
    return Place(url=f"{azure.scheme}://{azure.new_bucket()}/payloads", options=dict(azure.options))


class TestAzure(SharedStorageContract):
    """Everything that every storage promises."""
