"""Whatever is passed in: an error of ours or a message that is whole, and nothing in between."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some
from sqlalchemy import Engine, text

from tests.fuzz import decoders
from xclaim import Claim, ClaimLostError, Queue, XclaimError, create_engine
from xclaim.cli.app import group
from xclaim.cli.outcomes import status_of

pytestmark = pytest.mark.slow

fuzzed = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)
NO_JSON = some.binary() | some.complex_numbers() | some.sets(some.integers()) | some.datetimes()
ANYTHING = JSON | NO_JSON | some.timedeltas() | some.dictionaries(some.integers(), some.integers())
HOSTILE = some.sampled_from(
    [
        "'; DROP TABLE xclaim_message; --",
        '"; DROP TABLE xclaim_message; --',
        "$$", "%s", "%(queue_name)s", ":queue_name", "\\", "\\'", "{}", "{0}", "NULL", "\x00",
        "\ud800", "\u202e", "a" * 2_000, "é" * 600, "", " ", "\n", "../../etc/passwd",
    ]
)  # fmt: skip
TEXT = HOSTILE | some.text(max_size=300)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM xclaim_message")) or 0)


def refused(call: Callable[[], object]) -> bool:
    """Return whether the call was refused by an error of ours; others are not caught."""
    try:
        call()
    except XclaimError as error:
        return bool(str(error))
    return False


def is_same(pushed: Any, read: Any) -> bool:
    """Return whether a payload is what JSON makes of it; jsonb reads large floats as integers."""
    if isinstance(pushed, complex):
        return is_same([pushed.real, pushed.imag], [read.real, read.imag])
    if isinstance(pushed, float):
        return bool(pushed == float(read)) or (math.isnan(pushed) and math.isnan(read))
    if isinstance(pushed, list | tuple):
        return all(map(is_same, pushed, read)) and len(pushed) == len(read)
    if isinstance(pushed, dict):
        return pushed.keys() == read.keys() and all(is_same(pushed[key], read[key]) for key in read)
    return bool(pushed == read)


def test_a_payload_is_kept_whole_or_refused(engine: Engine) -> None:
    queue = Queue("orders", engine)

    @fuzzed
    @given(payload=ANYTHING)
    def push(payload: Any) -> None:
        before = rows(engine)
        if refused(lambda: queue.push(payload, priority=1)):
            assert rows(engine) == before
            return
        claimed = queue.claim()
        assert claimed is not None
        assert is_same(payload, claimed.payload)
        queue.ack(claimed)

    push()


def test_a_batch_is_pushed_whole_or_not_at_all(engine: Engine) -> None:
    queue = Queue("orders", engine)

    @fuzzed
    @given(payloads=some.lists(ANYTHING, max_size=5), keys=some.lists(TEXT, max_size=5))
    def push(payloads: list[Any], keys: list[str]) -> None:
        before = rows(engine)
        was_refused = refused(lambda: queue.push_many(payloads, unique_keys=keys))
        assert rows(engine) - before in ({0} if was_refused else range(len(payloads) + 1))

    push()


def test_text_of_others_stays_data(engine: Engine) -> None:
    numbers = itertools.count()

    @fuzzed
    @given(name=TEXT, key=TEXT, claimant=TEXT, reason=TEXT, header=TEXT)
    def live(name: str, key: str, claimant: str, reason: str, header: str) -> None:
        name = f"{name}{next(numbers)}"
        if refused(lambda: Queue(name, engine)):
            return
        queue = Queue(name, engine)
        if refused(lambda: queue.push(key, unique_key=key, headers={header: reason})):
            return
        if refused(lambda: queue.claim_many(10, claimed_by=claimant, claim_key=key)):
            return
        (message,) = queue.find([key])
        assert (message.queue, message.payload, message.unique_key) == (name, key, key)
        assert (message.claimed_by, message.headers) == (claimant, {header: reason})

    live()
    assert rows(engine) >= 1


def test_numbers_and_durations_are_refused_by_name(engine: Engine) -> None:
    queue = Queue("orders", engine)
    number = some.integers() | some.floats() | some.booleans() | some.text(max_size=3)
    duration = some.timedeltas() | some.integers() | some.none()

    @fuzzed
    @given(number=number, duration=duration)
    def ask(number: Any, duration: Any) -> None:
        calls: list[Callable[[], object]] = [
            lambda: queue.push(1, priority=number),
            lambda: queue.push(1, max_attempts=number),
            lambda: queue.push(1, delay=duration),
            lambda: queue.get(number),
            lambda: queue.peek(number if number != math.inf else 1),
            lambda: queue.claim(lease=duration),
            lambda: queue.prune(older_than=duration),
        ]
        for call in calls:
            refused(call)

    ask()


def test_a_claim_that_was_tampered_with_settles_nothing(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1)
    held = queue.claim()
    assert held is not None

    @fuzzed
    @given(
        field=some.sampled_from(sorted(held.message.to_dict())),
        value=ANYTHING | TEXT,
        is_token_kept=some.booleans(),
    )
    def ack(field: str, value: Any, is_token_kept: bool) -> None:
        values = held.to_dict()
        assume(values["message"][field] != value)
        values["message"][field] = value
        if not is_token_kept:
            values["token"] = str(uuid4())
        if field in ("id", "queue") or not is_token_kept:
            assert refused(lambda: queue.ack(Claim.from_dict(values)))
        else:
            refused(lambda: Claim.from_dict(values))

    ack()
    queue.ack(held)
    with pytest.raises(ClaimLostError):
        queue.ack(held)


@pytest.mark.parametrize("decode", decoders.ALL, ids=lambda decode: decode.__name__)
def test_a_decoder_refuses_what_is_none_of_its_own(decode: Callable[[bytes], object]) -> None:
    @fuzzed
    @given(data=some.binary(max_size=200) | JSON.map(decoders.as_json) | TEXT.map(decoders.as_utf8))
    def read(data: bytes) -> None:
        decode(data)

    read()


def test_the_command_line_ends_with_a_status_of_its_own(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XCLAIM_DATABASE_URL", sqlite_url)
    commands = ["push", "claim", "ack", "release", "extend", "peek", "stats", "expire", "redrive"]
    options = ["--limit", "--delay", "--lease", "--unique-key", "--priority", "--error", "--schema"]

    @fuzzed
    @given(
        command=some.sampled_from([*commands, "prune", "audit", "doctor", "nonsense"]),
        words=some.lists(TEXT | some.sampled_from(options) | JSON.map(json.dumps), max_size=4),
    )
    def run(command: str, words: list[str]) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1}\n')))
        assert status_of(
            group, [command, *[word for word in words if "\x00" not in word]]
        ) in range(6)

    run()
    assert "Traceback" not in capfd.readouterr().err


def test_a_duration_is_ten_years_at_most(engine: Engine) -> None:
    queue = Queue("orders", engine)

    assert refused(lambda: queue.push(1, delay=timedelta(days=4_000)))
