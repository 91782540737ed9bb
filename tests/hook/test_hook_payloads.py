"""Payloads behind an Airflow connection: stored and encrypted as the connection says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.hook.conftest import within_task
from xclaim import InvalidArgumentError, Payloads
from xclaim.airflow.hooks import XclaimHook

pytestmark = pytest.mark.airflow

LARGE = {"rows": list(range(20_000))}
KEY = Fernet.generate_key().decode()


@pytest.fixture
def hook_with(connected: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., XclaimHook]:
    def make(**extras: Any) -> XclaimHook:
        from airflow.sdk import Connection

        found = Connection.from_uri(connected, conn_id="xclaim_default")
        values = {
            "conn_type": found.conn_type,
            "host": found.host,
            "login": found.login,
            "password": found.password,
            "port": found.port,
            "schema": found.schema,
            "extra": {**found.extra_dejson, **extras},
        }
        monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(values))
        return XclaimHook()

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_connection_says_where_large_payloads_go(
    hook_with: Callable[..., XclaimHook], folder: Path
) -> None:
    hook = hook_with(xclaim_storage=folder.as_uri())

    with within_task():
        hook.queue("reports").push_many([LARGE, {"id": 1}])
        claims = hook.queue("reports").claim_many(2)

    assert len(objects(folder)) == 1
    assert [claim.payload for claim in claims] == [LARGE, {"id": 1}]


def test_a_retried_push_stores_nothing_twice(
    hook_with: Callable[..., XclaimHook], folder: Path
) -> None:
    hook = hook_with(xclaim_storage=folder.as_uri(), xclaim_storage_threshold="100")
    with within_task(1):
        first = hook.queue("reports").push(LARGE)
    with within_task(2):
        again = hook.queue("reports").push(LARGE)

    assert again.id == first.id
    assert len(objects(folder)) == 1


def test_the_storage_may_be_named_by_an_airflow_connection(
    hook_with: Callable[..., XclaimHook], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FILES", '{"conn_type": "fs"}')
    hook = hook_with(xclaim_storage=f"file://files@{folder}")

    hook.queue("reports").push(LARGE)

    assert len(objects(folder)) == 1


@pytest.mark.parametrize("whose", ["airflow", "xclaim"])
def test_a_connection_says_with_whose_keys_payloads_are_encrypted(
    hook_with: Callable[..., XclaimHook], monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    hook = hook_with(xclaim_encryption=whose)

    message = hook.queue("reports").push({"password": "secret"})

    assert message.codec == "json+fernet"
    claimed = hook.queue("reports").claim()
    assert claimed is not None
    assert claimed.payload == {"password": "secret"}


@pytest.mark.parametrize(
    ("extras", "named"),
    [
        ({"xclaim_storage": "ftp://x"}, "s3://"),
        ({"xclaim_storage_threshold": "much"}, "xclaim_storage_threshold must be"),
        ({"xclaim_storage_threshold": -1}, "xclaim_storage_threshold must be"),
        ({"xclaim_storage_options": "x"}, "xclaim_storage_options"),
        ({"xclaim_encryption": "yes"}, "xclaim_encryption must be"),
    ],
)
def test_extras_that_cannot_be_used_name_the_connection(
    hook_with: Callable[..., XclaimHook], extras: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named) as raised:
        hook_with(**extras).queue("reports")

    assert "xclaim_default" in str(raised.value)


@pytest.mark.usefixtures("connected")
def test_the_hook_may_say_it_too(folder: Path) -> None:
    hook = XclaimHook(payloads=Payloads(storage=folder.as_uri(), threshold=10))

    hook.queue("reports").push("x" * 100)

    assert len(objects(folder)) == 1


def test_a_ticket_carries_no_payload_that_is_stored_elsewhere(
    hook_with: Callable[..., XclaimHook], folder: Path
) -> None:
    hook = hook_with(xclaim_storage=folder.as_uri())
    with within_task():
        hook.queue("reports").push(LARGE)
        ticket = hook.claim_ticket("reports")

    assert ticket is not None
    assert "payload" not in ticket
    with within_task(task_id="reader"):
        (claim,) = hook.resume(ticket)
    assert claim.payload == LARGE


@pytest.mark.usefixtures("connected")
def test_a_typed_queue_of_the_hook() -> None:
    from dataclasses import dataclass

    @dataclass
    class Parcel:
        weight: int

    queue = XclaimHook().queue("parcels", type=Parcel)

    queue.push(Parcel(3))

    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == Parcel(3)
