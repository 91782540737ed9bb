from __future__ import annotations

import pytest

from tests.payloads.emulators import Emulator
from tests.payloads.storage_contract import Place, SharedStorageContract


@pytest.fixture
def place(s3: Emulator) -> Place:
    return Place(url=f"{s3.scheme}://{s3.new_bucket()}/payloads", options=dict(s3.options))


class TestS3(SharedStorageContract):
    """Everything that every storage promises."""
