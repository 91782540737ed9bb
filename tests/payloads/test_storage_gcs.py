from __future__ import annotations

import pytest

from tests.payloads.emulators import Emulator
from tests.payloads.storage_contract import Place, SharedStorageContract


@pytest.fixture
def place(gcs: Emulator) -> Place:
    return Place(url=f"{gcs.scheme}://{gcs.new_bucket()}/payloads", options=dict(gcs.options))


class TestGcs(SharedStorageContract):
    """Everything that every storage promises."""
