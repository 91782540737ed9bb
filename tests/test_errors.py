"""Errors reach whoever has to know, with all they carry: copied, and out of a worker process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

import xclaim
from tests.handed_on import WAYS, assert_same, caught, errors_of, raised_by_workers
from xclaim import (
    Claim,
    ClaimLostError,
    DuplicateMessageError,
    MessagesFailedError,
    OrderingNotEnabledError,
    Payloads,
    Queue,
    QueueFullError,
    SchemaVersionError,
    Ticket,
    TicketLostError,
    XclaimError,
)
from xclaim.connections.pools import NoConnectionError as NoConnectionOfPoolError
from xclaim.errors import (
    FilterError,
    NoConnectionError,
    ObservationTimeoutError,
    UnfinishedError,
)

pytestmark = pytest.mark.slow

# Those of xclaim.airflow are tested in tests/hook; xclaim.__main__ would run a command.
KINDS = errors_of(xclaim, without=["xclaim.airflow", "xclaim.__main__"])
CLAIM = {
    "token": str(UUID(int=1)),
    "message": {
        "id": 17,
        "queue": "orders",
        "origin_queue": "orders",
        "status": "claimed",
        "priority": 0,
        "payload": {"id": 4711},
        "headers": {"source": "shop"},
        "unique_key": None,
        "attempts": 1,
        "max_attempts": None,
        "created_at": "2026-11-20T00:00:00+00:00",
        "available_at": "2026-11-20T00:00:00+00:00",
        "claimed_at": "2026-11-20T00:00:01+00:00",
        "claim_expires_at": "2026-11-20T00:05:01+00:00",
        "consumed_at": None,
        "claimed_by": "host:1",
        "consumed_by": None,
        "claim_key": None,
        "last_error": None,
        "last_error_class": None,
        "codec": None,
    },
}
TICKET = Ticket(queue="orders", claim_key="run/plan/0", claimed_by="run/plan#1@host")

# Those whose constructors take data; of all others a text. An error with a constructor of its own
# needs an example here.
EXAMPLES: dict[type[XclaimError], Callable[[], XclaimError]] = {
    ClaimLostError: lambda: ClaimLostError([Claim.from_dict(CLAIM)]),
    TicketLostError: lambda: TicketLostError(TICKET),
    DuplicateMessageError: lambda: DuplicateMessageError("orders", ["a", "b"]),
    MessagesFailedError: lambda: MessagesFailedError({17: "boom", 18: "away"}),
    UnfinishedError: UnfinishedError,
    FilterError: lambda: FilterError("`colour` is no field: write `queue:`", 7),
    ObservationTimeoutError: lambda: ObservationTimeoutError("which queues there are", 2.0),
    NoConnectionError: lambda: NoConnectionError(96, 30.0),
    NoConnectionOfPoolError: lambda: NoConnectionOfPoolError(96, 30.0),
    SchemaVersionError: lambda: SchemaVersionError(found="0001", expected="0002"),
    OrderingNotEnabledError: OrderingNotEnabledError,
    QueueFullError: lambda: QueueFullError("orders", 10, 9, count=2, on_full="wait"),
}


def an(kind: type[XclaimError]) -> BaseException:
    make = EXAMPLES.get(kind, lambda: kind("what went wrong: and the way out"))
    return caught(make())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_was_pickled_or_copied_is_the_same(kind: type[XclaimError], way: str) -> None:
    error = an(kind)

    again = WAYS[way](error)

    assert_same(again, error)


@pytest.mark.parametrize("way", WAYS)
def test_its_cause_is_handed_on_as_little_as_that_of_a_builtin_error(way: str) -> None:
    ours, builtin = WAYS[way](an(ClaimLostError)), WAYS[way](caught(ValueError("no")))

    assert (ours.__cause__, ours.__context__) == (builtin.__cause__, builtin.__context__)
    assert ours.__suppress_context__ is builtin.__suppress_context__


def test_worker_processes_raise_every_error_here() -> None:
    errors = [an(kind) for kind in KINDS]

    arrived = raised_by_workers(errors)

    for again, error in zip(arrived, [*errors, *errors], strict=True):
        assert again is not None
        assert_same(again, error)
        assert str(error) in str(again.__cause__)  # the traceback of the worker


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_claim_can_still_be_read(
    way: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", key)  # which no pickle has
    settings = Payloads(storage=tmp_path.as_uri(), threshold=100, compression="zstd", keys=key)
    with Queue("orders", sqlite_url, payloads=settings) as queue:
        queue.push("x" * 1000)
        claimed = queue.claim()
        assert claimed is not None
        queue.ack(claimed)
        with pytest.raises(ClaimLostError) as lost:
            queue.ack(claimed)

    (again,) = WAYS[way](lost.value).claims

    assert again == claimed
    assert again.payload == "x" * 1000
