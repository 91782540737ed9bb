"""Payloads that are not plain JSON in the row: typed, large, encrypted, and gone after the ack."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from tests.contract.facades import Facade
from tests.retrying import AT_ONCE
from xclaim import (
    Claim,
    DuplicateMessageError,
    EncryptionKeyError,
    InvalidArgumentError,
    Message,
    PayloadCorruptedError,
    PayloadError,
    PayloadGoneError,
    PayloadReadError,
    PayloadRefusedError,
    Payloads,
    Queue,
    Status,
    StorageError,
    UnknownCodecError,
)

LARGE = {"rows": [[number, f"name {number}"] for number in range(1_000)]}
OTHER = {"rows": [[number, f"other {number}"] for number in range(1_000)]}
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@dataclass(frozen=True)
class Line:
    article: str
    price: Decimal


@dataclass(frozen=True)
class Order:
    id: UUID
    ordered_on: date
    lines: list[Line]


class Parcel(TypedDict):
    weight: int
    to: str


ORDER = Order(UUID(int=7), date(2026, 11, 21), [Line("cup", Decimal("12.50"))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def objects(folder: Path) -> Callable[[], list[Path]]:
    return lambda: sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def stored(folder: Path) -> Payloads:
    return Payloads(storage=folder.as_uri(), threshold=1_000)


@pytest.fixture
def storing(facade: Facade, name: str, stored: Payloads) -> Queue:
    return facade.queue(name, payloads=stored)


@pytest.fixture
def row(engine: Engine, name: str) -> Callable[[], Any]:
    def read() -> Any:
        query = "SELECT status, codec, payload, last_error FROM xclaim_message WHERE queue = :queue"
        with engine.connect() as connection:
            return connection.execute(text(query), {"queue": name}).one()

    return read


@pytest.fixture
def overwrite(engine: Engine, name: str) -> Callable[[str, str | None], None]:
    def write(payload: str, codec: str | None) -> None:
        change = "UPDATE xclaim_message SET payload = {}, codec = :codec WHERE queue = :queue"
        value = "CAST(:payload AS jsonb)" if engine.dialect.name == "postgresql" else ":payload"
        values = {"payload": payload, "codec": codec, "queue": name}
        with engine.begin() as connection:
            connection.execute(text(change.format(value)), values)

    return write


# ----------------------------------------------------------------------------------- more than JSON


def test_values_that_json_lacks_come_back_as_they_were(queue: Queue, row: Any) -> None:
    payload = {
        "at": datetime(2026, 11, 21, 3, tzinfo=UTC),
        "price": Decimal("12.50"),
        "id": UUID(int=7),
        "tags": {"a", "b"},
        "raw": b"\x00\xff",
    }

    queue.push(payload)

    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == payload
    assert claimed.message.codec == row().codec == "json-types"


def test_plain_json_has_no_codec_and_stands_in_the_row_as_it_is(queue: Queue, row: Any) -> None:
    queue.push({"id": 1})

    assert row().codec is None
    assert queue.peek()[0].codec is None


def test_a_batch_may_hold_both(queue: Queue) -> None:
    pushed = queue.push_many([{"id": 1}, {"on": date(2026, 11, 21)}, b"raw"])

    assert [message.codec for message in pushed] == [None, "json-types", "bytes"]
    assert [message.payload for message in pushed] == [
        {"id": 1},
        {"on": date(2026, 11, 21)},
        b"raw",
    ]
    assert [claim.payload for claim in queue.claim_many(3)] == [
        message.payload for message in pushed
    ]


def test_a_value_no_codec_knows_is_refused_by_its_place(queue: Queue) -> None:
    with pytest.raises(PayloadError, match=r"payload 1"):
        queue.push_many([{"id": 1}, {"thing": object()}])

    assert queue.counts().available == 0


def test_a_typed_value_is_pushed_once_under_its_key(queue: Queue) -> None:
    first = queue.push({"on": date(2026, 11, 21)}, unique_key="a")

    again = queue.push({"on": date(2026, 11, 21)}, unique_key="a")

    assert again.id == first.id
    with pytest.raises(DuplicateMessageError):
        queue.push({"on": date(2026, 11, 22)}, unique_key="a")
    with pytest.raises(DuplicateMessageError):
        queue.push({"on": "2026-11-21"}, unique_key="a")


# ----------------------------------------------------------------------------------- large payloads


def test_a_large_payload_lies_in_the_storage_and_the_row_says_where(
    storing: Queue, row: Any, objects: Any
) -> None:
    storing.push(LARGE)

    (path,) = objects()
    stored = storing.peek()[0].stored
    assert row().codec == "json"
    assert stored["uri"] == f"file://{path}"
    assert stored["size"] == path.stat().st_size
    claimed = storing.claim()
    assert claimed is not None
    assert claimed.payload == LARGE


def test_a_payload_up_to_the_threshold_stays_in_the_row(
    facade: Facade, name: str, folder: Path, objects: Any
) -> None:
    queue = facade.queue(name, payloads=Payloads(storage=folder.as_uri(), threshold=10))

    pushed = queue.push_many(["12345678", "ä" * 4, "123456789", "ä" * 5])

    assert [message.codec for message in pushed] == [None, None, "json", "json"]
    assert len(objects()) == 2


def test_a_peek_and_a_claim_fetch_nothing(storing: Queue, objects: Any) -> None:
    storing.push(LARGE)
    objects()[0].unlink()

    peeked, claimed = storing.peek()[0], storing.claim()

    assert claimed is not None
    for message in (peeked, claimed.message):
        with pytest.raises(PayloadGoneError):
            _ = message.payload
    storing.release(claimed)
    assert storing.counts().available == 1


def test_a_payload_is_fetched_once(storing: Queue, objects: Any) -> None:
    storing.push(LARGE)
    claimed = storing.claim()
    assert claimed is not None
    assert claimed.payload == LARGE
    objects()[0].unlink()

    assert claimed.payload == LARGE
    assert storing.extend(claimed).payload == LARGE


def test_a_queue_reads_the_payload_of_a_claim_made_elsewhere(storing: Queue, queue: Queue) -> None:
    storing.push(LARGE)
    claimed = queue.claim()
    assert claimed is not None
    again = Claim.from_dict(claimed.to_dict())

    assert storing.read(again) == LARGE
    assert storing.read(again.message) == LARGE
    with pytest.raises(PayloadRefusedError, match="XCLAIM_STORAGE"):
        _ = again.payload


def test_a_payload_is_streamed(storing: Queue) -> None:
    storing.push(LARGE)
    claimed = storing.claim()
    assert claimed is not None

    with claimed.open() as file:
        assert file.read(9) == b'{"rows":['


def test_a_file_is_pushed_and_streamed_as_bytes(
    storing: Queue, tmp_path: Path, objects: Any
) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)) * 100)
    with model.open("rb") as file:
        storing.push(file)

    claimed = storing.claim()
    assert claimed is not None
    assert claimed.message.codec == "bytes"
    assert objects()[0].read_bytes() == model.read_bytes()
    with claimed.open() as file:
        assert file.read() == model.read_bytes()
    assert claimed.payload == model.read_bytes()


def test_a_message_travels_between_processes_unread(storing: Queue) -> None:
    storing.push(LARGE)
    message = storing.peek()[0]

    again = pickle.loads(pickle.dumps(message))  # noqa: S301  (our own)

    assert again == message
    assert again.payload == LARGE


def test_a_claim_says_of_its_payload_what_the_row_says(storing: Queue, objects: Any) -> None:
    storing.push(LARGE)
    claimed = storing.claim()
    assert claimed is not None

    assert claimed.to_dict()["message"]["payload"]["uri"] == f"file://{objects()[0]}"


def test_a_message_of_an_older_xclaim_has_no_codec(queue: Queue) -> None:
    values = queue.push({"id": 1}).to_dict()
    del values["codec"]

    assert Message.from_dict(values).payload == {"id": 1}


def test_a_large_payload_is_pushed_once_under_its_key(storing: Queue, objects: Any) -> None:
    first = storing.push(LARGE, unique_key="a")

    again = storing.push(LARGE, unique_key="a")

    assert again.id == first.id
    assert again.payload == LARGE
    assert len(objects()) == 1
    with pytest.raises(DuplicateMessageError):
        storing.push(OTHER, unique_key="a")
    assert len(objects()) == 1


def test_a_payload_is_the_same_wherever_it_is_stored(
    storing: Queue, queue: Queue, facade: Facade, name: str, folder: Path, objects: Any
) -> None:
    compressing = Payloads(storage=folder.as_uri(), threshold=1_000, compression="zstd", keys=NEW)
    first = queue.push(LARGE, unique_key="a")

    assert storing.push(LARGE, unique_key="a").id == first.id
    assert facade.queue(name, payloads=compressing).push(LARGE, unique_key="a").id == first.id
    assert objects() == []
    with pytest.raises(DuplicateMessageError):
        storing.push(OTHER, unique_key="a")


def test_of_a_refused_batch_nothing_is_left_in_the_storage(storing: Queue, objects: Any) -> None:
    with pytest.raises(PayloadError):
        storing.push_many([LARGE, OTHER, object()])
    with pytest.raises(InvalidArgumentError, match="priority"):
        storing.push(LARGE, priority=10**6)
    with pytest.raises(DuplicateMessageError):
        storing.push_many([LARGE, OTHER], unique_keys=["a", "a"])

    assert objects() == []
    assert storing.counts().available == 0


def test_a_storage_that_refuses_leaves_no_row(facade: Facade, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    payloads = Payloads(storage=(tmp_path / "file" / "in").as_uri(), threshold=1)
    queue = facade.queue(name, payloads=payloads)

    with pytest.raises(StorageError, match="in"):
        queue.push(LARGE)

    assert queue.counts().available == 0


def test_prune_deletes_the_objects_of_what_it_deletes(storing: Queue, objects: Any) -> None:
    storing.push_many([LARGE, OTHER])
    storing.ack_many(storing.claim_many(1))

    assert storing.prune(older_than=timedelta(0)) == 1

    assert len(objects()) == 1
    left = storing.claim()
    assert left is not None
    assert left.payload == OTHER


def test_withdraw_deletes_the_objects_too(storing: Queue, objects: Any) -> None:
    storing.push(LARGE, unique_key="a")

    storing.withdraw(["a"])

    assert objects() == []


def test_in_a_transaction_of_the_caller_objects_stay(
    facade: Facade, storing: Queue, stored: Payloads, name: str, objects: Any
) -> None:
    storing.push(LARGE)
    storing.ack_many(storing.claim_many(1))

    with pytest.raises(ZeroDivisionError), facade.in_transaction(name, payloads=stored) as joined:
        joined.prune(older_than=timedelta(0))
        raise ZeroDivisionError

    assert len(objects()) == 1
    assert storing.counts().consumed == 1


def test_a_push_in_a_transaction_that_rolls_back_leaves_an_orphan_and_no_row(
    facade: Facade, stored: Payloads, name: str, storing: Queue, objects: Any
) -> None:
    with pytest.raises(ZeroDivisionError), facade.in_transaction(name, payloads=stored) as joined:
        joined.push(LARGE)
        raise ZeroDivisionError

    assert len(objects()) == 1
    assert storing.counts().available == 0


# ------------------------------------------------------------------------------ what cannot be read


def test_a_changed_object_is_noticed_and_the_message_comes_back(
    storing: Queue, objects: Any, row: Any
) -> None:
    storing.push(LARGE)
    path = objects()[0]
    path.write_bytes(path.read_bytes().replace(b"name 7", b"name 8"))

    with pytest.raises(PayloadCorruptedError), storing.consume() as claimed:
        assert claimed is not None
        _ = claimed.payload

    assert row().status == Status.AVAILABLE
    assert "PayloadCorruptedError" in row().last_error


def test_a_truncated_object_is_noticed(storing: Queue, objects: Any) -> None:
    storing.push(LARGE)
    path = objects()[0]
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(PayloadCorruptedError):
        _ = storing.peek()[0].payload


def test_a_crafted_row_reads_no_other_files(storing: Queue, tmp_path: Path, overwrite: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"password": 1}')
    sha256 = "0" * 64
    storing.push({"id": 1})

    for uri in (secret.as_uri(), f"file://{tmp_path}/payloads/../secret", "s3://other/secret"):
        overwrite(f'{{"uri": "{uri}", "size": 15, "sha256": "{sha256}"}}', "json")
        with pytest.raises(PayloadRefusedError):
            _ = storing.peek()[0].payload


def test_a_payload_that_claims_to_be_100_tb_is_refused_before_it_is_fetched(
    storing: Queue, objects: Any, overwrite: Any
) -> None:
    storing.push(LARGE)
    uri = f"file://{objects()[0]}"
    overwrite(f'{{"uri": "{uri}", "size": {100 * 1024**4}, "sha256": "{"0" * 64}"}}', "json")

    with pytest.raises(PayloadRefusedError, match="max_size"):
        _ = storing.peek()[0].payload
    with pytest.raises(PayloadCorruptedError):
        storing.peek()[0].open().read()


@pytest.mark.parametrize(
    ("payload", "codec", "error"),
    [
        ('{"data": "YQ=="}', "nobody-knows", UnknownCodecError),
        ('{"data": "YQ=="}', "bytes+rot13", UnknownCodecError),
        ('{"data": "!"}', "bytes", PayloadCorruptedError),
        ("[1]", "bytes", PayloadCorruptedError),
        ("{}", "bytes", PayloadCorruptedError),
        ('{"json": 1}', "bytes", PayloadCorruptedError),
        ('{"uri": 1, "size": 1, "sha256": ""}', "bytes", PayloadCorruptedError),
        ('{"uri": "file:///x", "size": -1, "sha256": ""}', "bytes", PayloadCorruptedError),
        ('{"data": "YQ=="}', "json", PayloadCorruptedError),
        ('{"data": "YQ=="}', "arrow", PayloadCorruptedError),
        ('{"data": "YQ=="}', "bytes+zstd", PayloadCorruptedError),
        ('{"data": "YQ==", "key": "abc"}', "bytes+fernet", EncryptionKeyError),
    ],
)
def test_a_row_changed_by_hand_is_a_clear_error(
    queue: Queue, overwrite: Any, row: Any, payload: str, codec: str, error: type[Exception]
) -> None:
    queue.push({"id": 1})
    overwrite(payload, codec)

    with pytest.raises(error) as raised, queue.consume() as claimed:
        assert claimed is not None
        _ = claimed.payload

    assert isinstance(raised.value, PayloadReadError)
    assert row().status == Status.AVAILABLE


def test_what_is_larger_than_allowed_is_not_read_into_memory(
    facade: Facade, name: str, storing: Queue, folder: Path
) -> None:
    storing.push(LARGE)
    small = Payloads(storage=folder.as_uri(), max_size=100)

    with pytest.raises(PayloadRefusedError, match=r"open\(\)"):
        _ = facade.queue(name, payloads=small).peek()[0].payload


def test_compressed_payloads_do_not_grow_beyond_what_is_allowed(
    facade: Facade, name: str, folder: Path, objects: Any
) -> None:
    packed = Payloads(storage=folder.as_uri(), threshold=100, compression="zstd", max_size=1_000)
    queue = facade.queue(name, payloads=packed)
    queue.push("a" * 10_000)

    assert objects()[0].stat().st_size < 1_000
    with pytest.raises(PayloadRefusedError, match="max_size"):
        _ = queue.peek()[0].payload


# --------------------------------------------------------------------------------------- encryption


@pytest.mark.parametrize("payload", [{"password": "secret"}, LARGE, b"secret" * 500])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_an_encrypted_payload_is_nowhere_to_be_seen(
    facade: Facade,
    name: str,
    folder: Path,
    objects: Any,
    row: Any,
    payload: Any,
    compression: str | None,
) -> None:
    sealed = Payloads(storage=folder.as_uri(), threshold=1_000, keys=NEW, compression=compression)
    queue = facade.queue(name, payloads=sealed)

    queue.push(payload)

    assert row().codec.endswith("+fernet")
    seen = str(row().payload).encode() + b"".join(path.read_bytes() for path in objects())
    assert b"secret" not in seen
    assert b"name 7" not in seen
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == payload


def test_without_its_key_a_payload_is_not_read_and_its_message_stays(
    facade: Facade, name: str, queue: Queue
) -> None:
    facade.queue(name, payloads=Payloads(keys=OLD)).push({"id": 1})
    other = facade.queue(name, payloads=Payloads(keys=NEW), retry=AT_ONCE)

    for reader in (queue, other):
        with (
            pytest.raises(EncryptionKeyError, match="XCLAIM_FERNET_KEYS"),
            reader.consume() as claim,
        ):
            assert claim is not None
            _ = claim.payload

    rotated = facade.queue(name, payloads=Payloads(keys=[NEW, OLD])).claim()
    assert rotated is not None
    assert rotated.payload == {"id": 1}


def test_an_encrypted_payload_is_pushed_once_under_its_key(
    facade: Facade, name: str, folder: Path, objects: Any
) -> None:
    sealed = Payloads(storage=folder.as_uri(), threshold=1_000, keys=OLD)
    rotated = Payloads(storage=folder.as_uri(), threshold=1_000, keys=[NEW, OLD])
    queue, later = facade.queue(name, payloads=sealed), facade.queue(name, payloads=rotated)
    small, large = queue.push({"id": 1}, unique_key="a"), queue.push(LARGE, unique_key="b")

    assert later.push({"id": 1}, unique_key="a").id == small.id
    assert later.push(LARGE, unique_key="b").id == large.id
    assert len(objects()) == 1
    with pytest.raises(DuplicateMessageError):
        later.push({"id": 2}, unique_key="a")


def test_the_digest_in_the_row_does_not_tell_a_small_payload(
    facade: Facade, name: str, row: Any
) -> None:
    import hashlib

    facade.queue(name, payloads=Payloads(keys=NEW)).push(7, unique_key="a")

    assert hashlib.sha256(b"7").hexdigest() not in str(row().payload)


# ------------------------------------------------------------------------------------- typed queues


@pytest.mark.parametrize(("type_", "value"), [(Order, ORDER), (Parcel, {"weight": 3, "to": "Ulm"})])
def test_a_typed_queue_gives_what_was_pushed(
    facade: Facade, name: str, row: Any, type_: Any, value: Any
) -> None:
    queue = facade.queue(name, type=type_)

    pushed = queue.push(value)

    assert row().codec is None
    assert pushed.payload == value
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == value


def test_a_typed_queue_refuses_what_is_not_of_its_type(facade: Facade, name: str) -> None:
    queue = facade.queue(name, type=Parcel)

    with pytest.raises(PayloadError, match="weight"):
        queue.push({"weight": "heavy", "to": "Ulm"})
    with pytest.raises(PayloadError, match=r"payload 1.*to"):
        queue.push_many([{"weight": 3, "to": "Ulm"}, {"weight": 3}])

    assert queue.counts().available == 0


def test_a_typed_queue_reads_what_an_untyped_one_pushed(
    facade: Facade, name: str, queue: Queue
) -> None:
    queue.push_many([{"weight": 3, "to": "Ulm"}, {"weight": "heavy"}])
    first, second = facade.queue(name, type=Parcel).claim_many(2)

    assert first.payload == {"weight": 3, "to": "Ulm"}
    with pytest.raises(PayloadCorruptedError, match="Parcel"):
        _ = second.payload


def test_a_typed_queue_may_store_and_encrypt(facade: Facade, name: str, folder: Path) -> None:
    sealed = Payloads(storage=folder.as_uri(), threshold=10, keys=NEW)
    queue = facade.queue(name, type=Order, payloads=sealed)

    queue.push(ORDER, unique_key="a")

    assert queue.push(ORDER, unique_key="a").payload == ORDER


# ------------------------------------------------------------------------------------ after the ack


@pytest.mark.parametrize("payload", [{"id": 1}, LARGE, {"on": date(2026, 11, 21)}])
@pytest.mark.parametrize("keys", [None, NEW], ids=["plain", "encrypted"])
def test_a_digest_is_enough_to_push_once(
    facade: Facade,
    name: str,
    folder: Path,
    objects: Any,
    row: Any,
    payload: Any,
    keys: str | None,
) -> None:
    settings = Payloads(storage=folder.as_uri(), threshold=1_000, keys=keys, after_ack="digest")
    queue = facade.queue(name, payloads=settings)
    first = queue.push(payload, unique_key="a")

    queue.ack_many(queue.claim_many(1))

    assert row().codec == "digest"
    assert objects() == []
    assert queue.push(payload, unique_key="a").id == first.id
    assert objects() == []
    with pytest.raises(DuplicateMessageError):
        queue.push({"id": 2}, unique_key="a")
    message = queue.get(first.id)
    assert message is not None
    with pytest.raises(PayloadGoneError, match="digest"):
        _ = message.payload


@pytest.mark.parametrize(
    ("payload", "codec"),
    [
        ("[1]", "bytes"),
        ('"size"', "bytes"),
        ("7", "json-types"),
        ('{"data": "!"}', "bytes"),
        ('{"data": "YQ==", "fingerprint": "no digest"}', "bytes+zstd"),
        ('{"sha256": 7}', "nobody-knows"),
        ('{"data": "YQ=="}', "bytes+rot13"),
    ],
)
def test_what_cannot_be_read_can_be_acked_all_the_same(
    facade: Facade, name: str, overwrite: Any, payload: str, codec: str
) -> None:
    queue = facade.queue(name, payloads=Payloads(after_ack="digest"))
    queue.push_many([1, 2], unique_keys=["a", "b"])
    overwrite(payload, codec)

    queue.ack_many(queue.claim_many(2))

    assert queue.counts().consumed == 2
    with pytest.raises(DuplicateMessageError):
        queue.push({"id": 1}, unique_key="a")


def test_a_dropped_payload_leaves_nothing(
    facade: Facade, name: str, folder: Path, objects: Any, row: Any
) -> None:
    settings = Payloads(storage=folder.as_uri(), threshold=1_000, after_ack="drop")
    queue = facade.queue(name, payloads=settings)
    queue.push(LARGE)

    with queue.consume() as claimed:
        assert claimed is not None
        assert claimed.payload == LARGE

    assert row().codec == "dropped"
    assert row().payload in ({}, "{}")
    assert objects() == []


@pytest.mark.parametrize("way", ["ack", "ack_many", "stream", "transact", "consume_many"])
def test_every_way_to_ack_drops_the_payload(
    facade: Facade, name: str, folder: Path, objects: Any, row: Any, way: str
) -> None:
    settings = Payloads(storage=folder.as_uri(), threshold=1_000, after_ack="drop")
    queue = facade.queue(name, payloads=settings)
    queue.push(LARGE)

    match way:
        case "ack":
            claimed = queue.claim()
            assert claimed is not None
            queue.ack(claimed)
        case "ack_many":
            queue.ack_many(queue.claim_many(1))
        case "stream":
            assert [claim.payload for claim in queue.stream()] == [LARGE]
        case "transact":
            with queue.transact() as (claimed, _):
                assert claimed is not None
        case _:
            with queue.consume_many(1) as claims:
                assert claims

    assert row().codec == "dropped"
    assert objects() == []


def test_a_lost_claim_drops_nothing(facade: Facade, name: str, folder: Path, objects: Any) -> None:
    settings = Payloads(storage=folder.as_uri(), threshold=1_000, after_ack="drop")
    queue = facade.queue(name, payloads=settings)
    queue.push_many([LARGE, OTHER])
    lost, held = queue.claim_many(2)
    queue.release(lost)

    with pytest.raises(Exception, match="claim lost"):
        queue.ack_many([lost, held])

    assert len(objects()) == 1
    again = queue.claim()
    assert again is not None
    assert again.payload == LARGE


# ---------------------------------------------------------------------------- claims of one message


def test_this_very_message_is_claimed(queue: Queue) -> None:
    _, wanted = queue.push_many([1, 2])

    claimed = queue.claim_message(wanted.id)

    assert claimed is not None
    assert claimed.payload == 2
    assert queue.claim_message(wanted.id) is None
    queue.ack(claimed)
    assert queue.claim_message(wanted.id) is None


def test_a_message_is_taken_back_by_a_later_attempt(queue: Queue) -> None:
    message = queue.push(1)
    first = queue.claim_message(message.id, claim_key="task", claimed_by="try 1")
    assert first is not None

    assert queue.claim_message(message.id, claim_key="other", claimed_by="try 1") is None
    second = queue.claim_message(message.id, claim_key="task", claimed_by="try 2")

    assert second is not None
    assert second.message.attempts == 2
    assert second.token != first.token


def test_a_lapsed_claim_of_the_message_is_given_back_first(queue: Queue) -> None:
    message = queue.push(1)
    queue.claim(lease=timedelta(0))

    claimed = queue.claim_message(message.id)

    assert claimed is not None
    assert claimed.message.attempts == 2


def test_no_message_of_another_queue_is_claimed(queue: Queue, facade: Facade, name: str) -> None:
    other = facade.queue(f"{name}-other").push(1)
    delayed = queue.push(2, delay=timedelta(hours=1))

    assert queue.claim_message(other.id) is None
    assert queue.claim_message(delayed.id) is None
    with pytest.raises(InvalidArgumentError, match="message id"):
        queue.claim_message(2**63)
