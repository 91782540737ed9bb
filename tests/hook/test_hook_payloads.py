"""Payloads behind an Airflow connection: stored and encrypted as the connection says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.hook.conftest import within_task
from xclaim import InvalidArgumentError, PayloadError, PayloadRefusedError, Payloads
from xclaim.airflow.commands import database_behind
from xclaim.airflow.hooks import XclaimHook
from xclaim.payloads.layers.encryption import Keys

pytestmark = pytest.mark.airflow

LARGE = {"rows": list(range(20_000))}
KEY, OTHER_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()


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


def test_a_connection_says_that_a_queue_is_moved_to_encryption(
    hook_with: Callable[..., XclaimHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook_with().queue("reports").push({"id": 1})
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)

    sealed = hook_with(xclaim_encryption="xclaim").queue("reports")
    moving = hook_with(xclaim_encryption="xclaim", xclaim_allow_unencrypted=True).queue("reports")

    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        _ = sealed.peek()[0].payload
    assert moving.peek()[0].payload == {"id": 1}


# Each but the storage itself, and each as a form may leave it.
ALONE: list[dict[str, Any]] = [
    {"xclaim_storage_threshold": 100},
    {"xclaim_storage_threshold": 0},
    {"xclaim_max_in_row": 10_000},
    {"xclaim_encryption": ""},
    {"xclaim_encryption": "xclaim"},
    {"xclaim_allow_unencrypted": None},
    {"xclaim_allow_unencrypted": False},
    {"xclaim_allow_unencrypted": "false"},
    {"xclaim_allow_unencrypted": True},
    {"xclaim_storage_options": {}},
    {"xclaim_schema": ""},
]


@pytest.mark.parametrize("extras", ALONE, ids=str)
def test_an_extra_takes_away_nothing_that_the_environment_says(
    hook_with: Callable[..., XclaimHook],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    extras: dict[str, Any],
) -> None:
    hook_with().queue("reports").push({"id": 1})
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    monkeypatch.setenv("XCLAIM_STORAGE", folder.as_uri())
    hook = hook_with(**extras)

    message = hook.queue("reports").push(LARGE)

    assert hook.is_encrypted("orders")
    assert message.codec == "json+fernet"
    assert len(objects(folder)) == 1
    plain, encrypted = hook.queue("reports").peek(2)
    assert encrypted.payload == LARGE
    if extras.get("xclaim_allow_unencrypted") is not True:
        with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
            _ = plain.payload


def test_a_storage_of_the_connection_keeps_the_keys_of_the_environment(
    hook_with: Callable[..., XclaimHook], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    monkeypatch.setenv("XCLAIM_STORAGE", (folder.parent / "other").as_uri())

    message = hook_with(xclaim_storage=folder.as_uri()).queue("reports").push(LARGE)

    assert message.codec == "json+fernet"
    assert len(objects(folder)) == 1


def test_the_connection_comes_before_the_environment(
    hook_with: Callable[..., XclaimHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", OTHER_KEY)
    monkeypatch.setenv("XCLAIM_MAX_IN_ROW", "10")
    queue = hook_with(xclaim_encryption="airflow", xclaim_max_in_row="1000").queue("reports")

    message = queue.push("x" * 100)

    assert message.stored["key"] == Keys(OTHER_KEY).primary_id
    with pytest.raises(PayloadError, match="1000 bytes"):
        queue.push("x" * 1_000)


def test_the_commands_of_airflow_read_as_the_hook_does(
    hook_with: Callable[..., XclaimHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    hook_with(xclaim_allow_unencrypted=False)

    payloads = database_behind("xclaim_default").payloads

    assert payloads is not None
    assert payloads.requires_encryption


@pytest.mark.parametrize(
    ("extras", "named"),
    [
        ({"xclaim_storage": "ftp://x"}, "s3://"),
        ({"xclaim_storage_options": {"key": "x"}}, "xclaim_storage_options needs xclaim_storage"),
        ({"xclaim_max_in_row": "much"}, "xclaim_max_in_row must be"),
        ({"xclaim_max_in_row": 0}, "xclaim_max_in_row must be"),
        ({"xclaim_storage_threshold": "much"}, "xclaim_storage_threshold must be"),
        ({"xclaim_storage_threshold": -1}, "xclaim_storage_threshold must be"),
        ({"xclaim_storage_options": "x"}, "xclaim_storage_options"),
        ({"xclaim_encryption": "yes"}, "xclaim_encryption must be"),
        ({"xclaim_allow_unencrypted": "maybe"}, "xclaim_allow_unencrypted must be"),
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
