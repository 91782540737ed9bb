"""What keys promise: nothing plain is taken, and nothing opens but where it was pushed."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from tests.retrying import AT_ONCE
from xclaim import (
    Claim,
    DuplicateMessageError,
    EncryptionKeyError,
    InvalidArgumentError,
    Message,
    PayloadCorruptedError,
    PayloadRefusedError,
    Payloads,
    Queue,
)

LARGE = {"rows": [[number, f"name {number}"] for number in range(1_000)]}
KEY, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SEALED = Payloads(keys=KEY)

Overwrite = Callable[[int, Any, str | None], None]


@pytest.fixture
def sealed(facade: Facade, name: str) -> Queue:
    return facade.queue(name, payloads=SEALED)


@pytest.fixture
def overwrite(engine: Engine) -> Overwrite:
    """Put a payload into a row, as somebody does who may write rows and has no key."""

    def write(message_id: int, stored: Any, codec: str | None) -> None:
        is_postgresql = engine.dialect.name == "postgresql"
        value = "CAST(:payload AS jsonb)" if is_postgresql else ":payload"
        change = f"UPDATE xclaim_message SET payload = {value}, codec = :codec WHERE id = :id"
        with engine.begin() as connection:
            values = {"payload": json.dumps(stored), "codec": codec, "id": message_id}
            connection.execute(text(change), values)

    return write


def read(queue: Queue, message_id: int) -> Any:
    message = queue.get(message_id)
    assert message is not None
    return message.payload


# ------------------------------------------------------------------------------- nothing plain

PLAIN = [
    ({"to": "mallory"}, None),
    ("mallory", None),
    (None, None),
    ({"json": {"to": "mallory"}}, "json-types"),
    ({"data": base64.b64encode(b'{"to": "mallory"}').decode()}, "json"),
    ({"data": base64.b64encode(b"mallory").decode()}, "bytes"),
]


@pytest.mark.parametrize(("stored", "codec"), PLAIN)
def test_with_keys_what_is_not_encrypted_is_refused(
    sealed: Queue, overwrite: Overwrite, stored: Any, codec: str | None
) -> None:
    message = sealed.push({"to": "bob"})

    overwrite(message.id, stored, codec)

    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        read(sealed, message.id)
    claimed = sealed.claim()
    assert claimed is not None
    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        claimed.open()


def test_what_is_refused_ends_as_a_dead_letter_and_the_rest_is_consumed(
    facade: Facade, name: str, overwrite: Overwrite
) -> None:
    queue = facade.queue(name, payloads=SEALED, retry=AT_ONCE)
    forged, *_ = queue.push_many([0, 1, 2], max_attempts=1)
    overwrite(forged.id, 0, None)

    seen = []
    for _ in range(3):
        try:
            with queue.consume() as claimed:
                assert claimed is not None
                seen.append(claimed.payload)
        except PayloadRefusedError:
            pass

    assert seen == [1, 2]
    assert queue.counts().dead_letters == 1


def test_a_queue_that_is_moved_to_encryption_reads_both(facade: Facade, name: str) -> None:
    facade.queue(name, payloads=Payloads()).push_many([{"id": 1}, {"on": date(2026, 11, 26)}])
    moving = facade.queue(name, payloads=Payloads(keys=KEY, allow_unencrypted=True))
    moving.push({"id": 3})

    claims = moving.claim_many(3)

    assert [claim.payload for claim in claims] == [{"id": 1}, {"on": date(2026, 11, 26)}, {"id": 3}]
    assert claims[2].message.codec == "json+fernet"


@pytest.mark.parametrize("switch", ["true", "1", " True "])
def test_the_environment_says_that_a_queue_is_moved_to_encryption(
    facade: Facade, name: str, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    facade.queue(name).push({"id": 1})
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    sealed = facade.queue(name)
    monkeypatch.setenv("XCLAIM_ALLOW_UNENCRYPTED", switch)
    moving = facade.queue(name)

    moving.push({"id": 2})

    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        _ = sealed.peek()[0].payload
    plain, encrypted = moving.peek(2)
    assert (plain.payload, encrypted.payload) == ({"id": 1}, {"id": 2})
    assert encrypted.codec == "json+fernet"


@pytest.mark.parametrize("switch", ["false", "0", ""])
def test_a_switch_of_the_environment_that_is_off_allows_nothing_plain(
    facade: Facade, name: str, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    facade.queue(name).push({"id": 1})
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    monkeypatch.setenv("XCLAIM_ALLOW_UNENCRYPTED", switch)

    sealed = facade.queue(name)

    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        _ = sealed.peek()[0].payload


def test_a_switch_of_the_environment_that_is_neither_is_refused(
    facade: Facade, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    monkeypatch.setenv("XCLAIM_ALLOW_UNENCRYPTED", "maybe")

    with pytest.raises(InvalidArgumentError, match="XCLAIM_ALLOW_UNENCRYPTED must be"):
        facade.queue(name)


def test_a_typed_queue_with_keys_refuses_what_is_plain(facade: Facade, name: str) -> None:
    facade.queue(name, payloads=Payloads()).push({"id": 1})
    typed = facade.queue(name, payloads=SEALED, type=dict)

    with pytest.raises(PayloadRefusedError, match="allow_unencrypted"):
        _ = typed.peek()[0].payload


# ------------------------------------------------------------------------- opens nowhere else


def test_what_was_encrypted_for_another_queue_does_not_open(
    facade: Facade, name: str, sealed: Queue, overwrite: Overwrite
) -> None:
    secret = facade.queue(f"{name}-payroll", payloads=SEALED).push({"salary": 1})
    mine = sealed.push(1)

    overwrite(mine.id, secret.stored, secret.codec)

    with pytest.raises(PayloadCorruptedError, match="another queue"):
        read(sealed, mine.id)


@pytest.mark.parametrize("keys", [("invoice-1", "invoice-2"), ("invoice-1", None), (None, "new")])
def test_what_was_encrypted_under_another_key_does_not_open(
    sealed: Queue, overwrite: Overwrite, keys: tuple[str | None, str | None]
) -> None:
    first, second = sealed.push_many([{"pay": "bob"}, {"pay": "ann"}], unique_keys=keys)

    overwrite(second.id, first.stored, first.codec)

    assert read(sealed, first.id) == {"pay": "bob"}
    with pytest.raises(PayloadCorruptedError, match="unique key"):
        read(sealed, second.id)


def test_a_copy_without_a_key_opens_in_its_queue(sealed: Queue, overwrite: Overwrite) -> None:
    first, second = sealed.push_many([{"pay": "bob"}, {"pay": "ann"}])

    overwrite(second.id, first.stored, first.codec)

    assert read(sealed, second.id) == {"pay": "bob"}


@pytest.mark.parametrize(
    "stages", ["zstd+zstd", "fernet+fernet", "fernet+zstd", "zstd+fernet+zstd"]
)
def test_a_stage_that_stands_twice_is_refused(
    sealed: Queue, overwrite: Overwrite, stages: str
) -> None:
    message = sealed.push({"id": 1})

    overwrite(message.id, message.stored, f"json+{stages}")

    with pytest.raises(PayloadCorruptedError, match="each stage is done once"):
        read(sealed, message.id)


@pytest.mark.parametrize("codec", ["bytes+fernet", "json-types+fernet", "json+zstd+fernet"])
def test_what_was_encrypted_is_not_taken_for_another_codec(
    sealed: Queue, overwrite: Overwrite, codec: str
) -> None:
    message = sealed.push({"$": "date", "value": "2026-11-26"} | {"id": 1})

    overwrite(message.id, message.stored, codec)

    with pytest.raises(PayloadCorruptedError, match="codec"):
        read(sealed, message.id)


def test_an_object_that_is_put_where_another_one_was_does_not_open(
    facade: Facade, name: str, tmp_path: Path
) -> None:
    stored = Payloads(storage=tmp_path.as_uri(), threshold=1_000, keys=KEY)
    mine, theirs = (facade.queue(f"{name}-{letter}", payloads=stored) for letter in "ab")
    pushed, other = mine.push(LARGE, unique_key="one"), theirs.push(LARGE, unique_key="one")
    here, there = (Path(each.stored["uri"].removeprefix("file://")) for each in (pushed, other))

    shutil.copyfile(there, here)  # and the row's size and digest may be changed, too
    changed = other.stored | {"uri": pushed.stored["uri"]}

    with pytest.raises(PayloadCorruptedError, match="another queue"):
        stored.read(changed, pushed.codec, queue=f"{name}-a", unique_key="one")


def test_a_dead_letter_and_what_was_redriven_elsewhere_still_open(
    facade: Facade, name: str
) -> None:
    queue = facade.queue(name, payloads=SEALED, retry=AT_ONCE)
    queue.push({"id": 1}, unique_key="one", max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="no")

    letters = facade.queue(f"{name}.dead", payloads=SEALED)
    assert letters.peek()[0].payload == {"id": 1}
    queue.redrive(to=f"{name}-other")
    redriven = facade.queue(f"{name}-other", payloads=SEALED).claim()

    assert redriven is not None
    assert redriven.payload == {"id": 1}


def test_a_claim_that_travels_is_read_by_a_queue_with_the_keys(sealed: Queue) -> None:
    sealed.push({"id": 1}, unique_key="one")
    claimed = sealed.claim()
    assert claimed is not None

    again = Claim.from_dict(json.loads(json.dumps(claimed.to_dict())))

    assert sealed.read(again) == {"id": 1}


# ------------------------------------------------------------------------------- fingerprints


def test_without_the_key_nobody_tells_which_payloads_are_the_same(
    facade: Facade, name: str, sealed: Queue
) -> None:
    other = facade.queue(f"{name}-other", payloads=SEALED)
    messages: list[Message] = sealed.push_many([{"ill": True}] * 2, unique_keys=["ann", "bob"])
    messages.append(other.push({"ill": True}, unique_key="ann"))

    assert len({message.stored["fingerprint"] for message in messages}) == 3
    assert sealed.push({"ill": True}, unique_key="bob").id == messages[1].id


# ------------------------------------------------------------------------------------ pickles


def test_a_pickled_message_has_no_key_in_it(sealed: Queue) -> None:
    message = sealed.push({"id": 1})

    for pickled in map(pickle.dumps, (message, SEALED, sealed.claim())):
        assert KEY.encode() not in pickled
        assert base64.urlsafe_b64decode(KEY) not in pickled


def test_a_pickled_message_is_read_where_the_environment_has_the_key(
    sealed: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = pickle.loads(pickle.dumps(sealed.push({"id": 1})))  # noqa: S301

    monkeypatch.delenv("XCLAIM_FERNET_KEYS", raising=False)
    with pytest.raises(EncryptionKeyError, match="left out of a pickle"):
        _ = message.payload
    assert sealed.read(message) == {"id": 1}
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", f"{NEW},{KEY}")
    message = pickle.loads(pickle.dumps(sealed.peek()[0]))  # noqa: S301
    assert message.payload == {"id": 1}


def test_a_row_that_says_it_came_from_the_queue_opens(
    facade: Facade, name: str, sealed: Queue, overwrite: Overwrite, engine: Engine
) -> None:
    kept = sealed.push({"id": 1})
    other = facade.queue(f"{name}-other", payloads=SEALED)
    crafted = other.push({"id": 2})
    overwrite(crafted.id, kept.stored, kept.codec)
    with engine.begin() as connection:  # as the owner can, or who may write a SQLite file
        connection.execute(
            text("UPDATE xclaim_message SET origin_queue = :queue WHERE id = :id"),
            {"queue": name, "id": crafted.id},
        )

    (found,) = other.peek(1)

    assert found.payload == {"id": 1}


# ------------------------------------------------------------------------- what cannot be compared


@pytest.mark.parametrize("keys", [None, NEW], ids=["no key", "another key"])
def test_a_payload_that_cannot_be_compared_is_not_said_to_be_another_one(
    facade: Facade, name: str, sealed: Queue, keys: str | None
) -> None:
    message = sealed.push({"id": 1}, unique_key="a")
    producer = facade.queue(name, payloads=Payloads(keys=keys))

    with pytest.raises(DuplicateMessageError, match="cannot be compared") as caught:
        producer.push({"id": 1}, unique_key="a")

    assert message.stored["key"] in str(caught.value)
    assert caught.value.unique_keys == ["a"]


def test_a_payload_that_was_compared_is_said_to_be_another_one(sealed: Queue) -> None:
    sealed.push({"id": 1}, unique_key="a")

    with pytest.raises(DuplicateMessageError, match="another payload"):
        sealed.push({"id": 2}, unique_key="a")
