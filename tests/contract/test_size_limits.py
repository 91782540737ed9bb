"""How deep and how large a push may be: said in docs/payloads.md, kept on every database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from xclaim import InvalidArgumentError, PayloadError, PayloadRefusedError, Payloads, Queue
from xclaim.payloads.options import MAX_IN_ROW
from xclaim.payloads.plain_json import MAX_DEPTH, MAX_HEADERS

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "object": lambda value: {"in": value},
    "keys that are not text": lambda value: {1: value},
    "set": lambda value: frozenset([(1,) if value == [1] else value]),
    "beside a set": lambda value: [{1}, value],
}


def nested(wrap: Callable[[Any], Any], depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = wrap(value)
    return value


def deep(frames: int, call: Callable[[], Any]) -> Any:
    return call() if not frames else deep(frames - 1, call)


def has_a_row(engine: Engine, name: str) -> bool:
    query = text("SELECT count(*) FROM xclaim_message WHERE queue = :queue")
    with engine.connect() as connection:
        return bool(connection.execute(query, {"queue": name}).scalar_one())


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=list(WRAPS))
def test_what_a_push_takes_is_read_from_a_deep_stack(queue: Queue, wrap: Any) -> None:
    value = nested(wrap, MAX_DEPTH - 1, [1])

    pushed = queue.push(value)

    claimed = deep(200, queue.claim)
    assert claimed is not None
    assert deep(200, lambda: claimed.payload) == value
    assert deep(200, lambda: queue.push(value, unique_key="one")).id > pushed.id


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=list(WRAPS))
@pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 50_000])
def test_what_is_nested_deeper_is_refused_and_nothing_is_pushed(
    queue: Queue, engine: Engine, name: str, wrap: Any, depth: int
) -> None:
    if wrap is WRAPS["set"]:
        depth = min(depth, 900)  # Python itself hashes no set of more levels
    value = nested(wrap, depth, [1])

    with pytest.raises(PayloadError, match=rf"^payload 1.* deeper than {MAX_DEPTH} levels"):
        queue.push_many([0, value])
    if wrap is WRAPS["object"]:
        with pytest.raises(PayloadError, match=f"^headers .* deeper than {MAX_DEPTH} levels"):
            queue.push(0, headers=value)

    assert not has_a_row(engine, name)


@pytest.mark.parametrize("type_", [None, list])
def test_an_empty_list_or_object_is_a_level_too(
    facade: Facade, engine: Engine, name: str, type_: Any
) -> None:
    queue = facade.queue(name) if type_ is None else facade.queue(name, type=type_)
    lists = nested(WRAPS["list"], MAX_DEPTH, [])

    for value in (lists, nested(WRAPS["list"], MAX_DEPTH, {})):
        with pytest.raises(PayloadError, match=f"deeper than {MAX_DEPTH} levels"):
            queue.push(value)
    assert not has_a_row(engine, name)
    queue.push(lists[0])
    assert [claim.payload for claim in queue.claim_many(2)] == [lists[0]]


@pytest.mark.parametrize("value", ["x" * MAX_IN_ROW, "é" * (MAX_IN_ROW // 2), b"x" * MAX_IN_ROW])
def test_a_payload_in_the_row_has_16_mib_at_most(
    queue: Queue, engine: Engine, name: str, value: Any
) -> None:
    with pytest.raises(PayloadError, match=r"^payload 1.* 16777216 bytes .*max_in_row"):
        queue.push_many([0, value])

    assert not has_a_row(engine, name)


@pytest.mark.parametrize("value", [[1e308] * 60_000, [5e-324] * 60_000])
def test_what_postgresql_prints_counts(queue: Queue, engine: Engine, name: str, value: Any) -> None:
    with pytest.raises(PayloadError, match=r"^payload .* 16777216 bytes .*max_in_row"):
        queue.push(value)

    assert not has_a_row(engine, name)


@pytest.mark.parametrize("value", [[1.5] * 60_000, ["1e308", '"1e308', "\\"] * 60_000])
def test_what_it_prints_as_it_is_does_not(queue: Queue, value: Any) -> None:
    assert queue.push(value).payload == value


def test_with_a_storage_what_it_prints_is_no_matter(
    facade: Facade, name: str, tmp_path: Path
) -> None:
    queue = facade.queue(name, payloads=Payloads(storage=tmp_path.as_uri()))

    queue.push([1e308] * 60_000)

    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == [1e308] * 60_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keys": KEY},
        {"compression": "zstd", "threshold": 10_000},
    ],
)
def test_a_queue_says_what_its_rows_may_have(
    facade: Facade, name: str, options: dict[str, Any]
) -> None:
    queue = facade.queue(name, payloads=Payloads(max_in_row=1_000, **options))

    queue.push("x" * 500)
    for value in ("x" * 1_000, b"x" * 1_000, {"in": {1, "x" * 1_000}}):
        with pytest.raises(PayloadError, match="1000 bytes"):
            queue.push(value)

    assert queue.counts().available == 1


def test_the_environment_says_what_rows_may_have(
    facade: Facade, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_MAX_IN_ROW", "1000")
    queue = facade.queue(name)

    queue.push("x" * 500)
    with pytest.raises(PayloadError, match="1000 bytes"):
        queue.push("x" * 1_000)

    assert queue.counts().available == 1


def test_a_limit_of_the_environment_takes_neither_keys_nor_storage_away(
    facade: Facade, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_MAX_IN_ROW", "1000")
    monkeypatch.setenv("XCLAIM_STORAGE", tmp_path.as_uri())
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    queue = facade.queue(name)

    message = queue.push("x" * 1_000)

    assert message.codec == "json+fernet"
    assert len(list((tmp_path / name).iterdir())) == 1


@pytest.mark.parametrize("limit", ["much", "-1", "0"])
def test_a_limit_of_the_environment_that_is_none_is_refused(
    facade: Facade, name: str, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("XCLAIM_MAX_IN_ROW", limit)

    with pytest.raises(InvalidArgumentError, match="XCLAIM_MAX_IN_ROW must be a number of bytes"):
        facade.queue(name)


@pytest.mark.parametrize("threshold", [100, 10**9])
def test_with_a_storage_what_is_too_large_for_a_row_is_an_object(
    facade: Facade, name: str, tmp_path: Path, threshold: int
) -> None:
    settings = Payloads(storage=tmp_path.as_uri(), threshold=threshold, max_in_row=1_000)
    queue = facade.queue(name, payloads=settings)

    queue.push_many(["x" * size for size in (10, 499, 501, 900, 5_000)])

    claims = queue.claim_many(5)
    assert [len(claim.payload) for claim in claims] == [10, 499, 501, 900, 5_000]
    assert "uri" in claims[-1].message.stored


@pytest.mark.parametrize("most", [400, 600, 1_000])
@pytest.mark.parametrize("options", [{}, {"keys": KEY}, {"compression": "zstd"}])
def test_with_a_storage_a_payload_of_any_size_has_a_place_beside_small_rows(
    facade: Facade, name: str, tmp_path: Path, most: int, options: dict[str, Any]
) -> None:
    settings = Payloads(storage=tmp_path.as_uri(), max_in_row=most, **options)
    queue = facade.queue(name, payloads=settings)
    payloads = [part * size for size in range(0, most + 9, 9) for part in ("x", b"x", "\x00")]

    queue.push_many(payloads, unique_keys=[str(number) for number in range(len(payloads))])

    claims = queue.claim_many(len(payloads))
    assert [claim.payload for claim in claims] == payloads
    assert all(len(json.dumps(claim.message.stored)) <= most + 99 for claim in claims)


@pytest.mark.parametrize("character", ["x", "é", "\n"])
def test_headers_have_64_kib_at_most(
    queue: Queue, engine: Engine, name: str, character: str
) -> None:
    with pytest.raises(PayloadError, match=r"headers have \d+ bytes, more than the 65536"):
        queue.push(0, headers={"trace": character * MAX_HEADERS})
    assert not has_a_row(engine, name)

    message = queue.push(0, headers={"trace": "x" * (MAX_HEADERS - 20)})

    assert len(message.headers["trace"]) == MAX_HEADERS - 20


def test_what_is_decrypted_or_decompressed_is_bounded_by_max_size(
    facade: Facade, name: str
) -> None:
    keys = Fernet.generate_key().decode()
    facade.queue(name, payloads=Payloads(keys=keys)).push("x" * 5_000)
    reader = facade.queue(name, payloads=Payloads(keys=keys, max_size=100))

    (message,) = reader.peek(1)

    with pytest.raises(PayloadRefusedError, match="has more than the 100 bytes that are read"):
        _ = message.payload


@pytest.mark.parametrize("payload", ["x" * 5_000, [date(2026, 11, 26)] * 500])
def test_json_in_the_row_is_read_whatever_max_size_is(
    facade: Facade, name: str, payload: Any
) -> None:
    queue = facade.queue(name, payloads=Payloads(max_size=100))
    queue.push(payload)

    (message,) = queue.peek(1)

    assert message.payload == payload
