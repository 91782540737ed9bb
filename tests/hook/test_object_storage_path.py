"""Payloads below an Airflow ObjectStoragePath, with the real providers and a moto server."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import PATIENCE
from tests.payloads import emulators
from tests.payloads.emulators import Emulator
from xclaim.airflow.payload_settings import place
from xclaim.payloads.stores.storage import Reference, Storage

pytestmark = pytest.mark.airflow

PART = b"x" * 1024 * 1024


@pytest.fixture(scope="module")
def s3() -> Iterator[Emulator]:
    with emulators.s3() as store:
        yield store


@pytest.fixture
def connected(s3: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set up the connection `lake` and return a bucket."""
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "hunter2",
        "extra": {"endpoint_url": s3.endpoint, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    return s3.new_bucket()


def push(storage: Storage, content: bytes = b"payload") -> Reference:
    with storage.create("orders") as writer:
        writer.write(content)
        return writer.commit()


def _read_in_a_child(storage: Storage, reference: Reference, answer: Any) -> None:
    answer.send(storage.read(reference, 100))


def test_payloads_lie_in_a_bucket_of_a_connection(connected: str, s3: Emulator) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath(f"s3://lake@{connected}/payloads"))

    reference = push(storage)

    assert storage.url == f"s3://{connected}/payloads"
    assert reference.uri.startswith(f"s3://{connected}/payloads/orders/")
    assert storage.read(reference, 100) == b"payload"
    without_airflow = Storage(storage.url, options=s3.options)
    assert without_airflow.read(reference, 100) == b"payload"


def test_large_payloads_are_sent_in_parts(connected: str) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath(f"s3://{connected}/payloads", conn_id="lake"))

    reference = push(storage, PART * 20)

    assert storage.read(reference, reference.size) == PART * 20
    storage.delete([reference.uri])


def test_a_connection_is_looked_up_when_the_first_object_is_asked_for() -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath("s3://unknown_connection@bucket/payloads"))

    assert storage.url == "s3://bucket/payloads"


@pytest.mark.parametrize("scheme", ["abfs", "abfss", "wasb", "wasbs"])
def test_a_container_of_a_connection_is_named_by_any_of_azures_schemes(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Azure's own path needs its provider, which is not among the packages of the tests.
    monkeypatch.setattr("airflow.sdk.ObjectStoragePath", str)

    path = place(f"{scheme}://wasb_default@container/payloads")

    assert path == f"{scheme.replace('wasb', 'abfs')}://wasb_default@container/payloads"


def test_a_storage_with_a_connection_is_pickled_without_its_password(connected: str) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath(f"s3://lake@{connected}/payloads"))
    reference = push(storage)

    pickled = pickle.dumps(storage)

    assert b"hunter2" not in pickled
    assert pickle.loads(pickled).read(reference, 100) == b"payload"  # noqa: S301


def test_a_forked_task_uses_connections_of_its_own(connected: str) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath(f"s3://lake@{connected}/payloads"))
    reference = push(storage)
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    child = fork.Process(target=_read_in_a_child, args=(storage, reference, there))
    child.start()

    assert here.poll(PATIENCE)
    assert here.recv() == b"payload"
    child.join(PATIENCE)


def test_payloads_lie_in_files(tmp_path: Path) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = Storage(ObjectStoragePath(f"file://{tmp_path}/payloads"))

    reference = push(storage)

    assert reference.uri.startswith(f"file://{tmp_path}/payloads/orders/")
    assert storage.read(reference, 100) == b"payload"
