"""The databases of the tests."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest

from tests.databases import docker_answers


def test_who_asks_for_docker_in_vain_leaves_no_socket_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        answers = docker_answers.__wrapped__()
        gc.collect()

    assert not answers
    assert [str(each.message) for each in caught] == []
