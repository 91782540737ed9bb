"""From values to what their rows will have: one way, and what may take long is told apart."""

from __future__ import annotations

import copy
import tracemalloc
from collections import deque
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest
from cryptography.fernet import Fernet

from xclaim import PayloadError, Payloads, Storage
from xclaim.payloads.envelope import Owner, Prepared
from xclaim.payloads.writing import Destination, Sink

T = TypeVar("T")

LARGE = {"rows": list(range(1_000))}
SMALL = {"id": 1}
KEY = Fernet.generate_key().decode()
OWNER = Owner(("orders",))


class Elsewhere:
    """Does the work that is handed to it at once, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, work: Callable[[], T], /) -> T:
        self.count += 1
        return work()


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(storage=tmp_path.as_uri(), threshold=1_000)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_stays_in_its_row_as_it_is_waits_for_nobody(
    payloads: Payloads, elsewhere: Elsewhere
) -> None:
    prepared = payloads.prepare([SMALL, None, "é" * 400, (1, 2)], "orders", elsewhere=elsewhere)

    assert elsewhere.count == 0
    assert [each.stored for each in prepared] == [SMALL, None, "é" * 400, [1, 2]]
    assert {each.codec for each in prepared} == {None}


@pytest.mark.parametrize("value", [LARGE, "é" * 600, b"raw", date(2026, 11, 26), {"tags": {1}}])
def test_what_a_storage_or_a_codec_takes_part_in_is_done_elsewhere(
    payloads: Payloads, elsewhere: Elsewhere, value: Any
) -> None:
    (prepared,) = payloads.prepare([value], "orders", elsewhere=elsewhere)

    assert elsewhere.count == 1
    assert prepared.codec is not None
    assert payloads.read(prepared.stored, prepared.codec, queue="orders") == value


def test_what_was_stored_is_removed_elsewhere_when_a_later_payload_is_refused(
    payloads: Payloads, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    with pytest.raises(PayloadError, match="payload 2"):
        payloads.prepare([LARGE, SMALL, object()], "orders", elsewhere=elsewhere)

    assert elsewhere.count == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("large", [LARGE, {"text": "x" * 2_000}])
def test_of_many_those_that_are_large_go_to_the_storage(
    payloads: Payloads, elsewhere: Elsewhere, tmp_path: Path, large: Any
) -> None:
    values = [SMALL, large, {"text": "x" * 100}, large, [1]]

    prepared = payloads.prepare(values, "orders", elsewhere=elsewhere)

    assert elsewhere.count == 2
    assert len(files(tmp_path)) == 2
    assert [each.codec is not None for each in prepared] == [False, True, False, True, False]
    read = [payloads.read(each.stored, each.codec, queue="orders") for each in prepared]
    assert read == values


def test_many_are_encrypted_each(elsewhere: Elsewhere) -> None:
    payloads = Payloads(keys=[KEY])
    values = [SMALL, LARGE, None]

    prepared = payloads.prepare(values, "orders", elsewhere=elsewhere)

    assert len({each.text for each in prepared}) == 3
    read = [payloads.read(each.stored, each.codec, queue="orders") for each in prepared]
    assert read == values


def test_of_very_many_the_one_that_is_refused_is_named(payloads: Payloads) -> None:
    values: list[Any] = [*range(1_503), {"is": object()}, *range(1_000)]

    with pytest.raises(PayloadError, match="payload 1503: "):
        payloads.prepare(values, "orders")


def test_of_many_that_are_large_only_some_are_in_memory_at_a_time(payloads: Payloads) -> None:
    elsewhere: Any = lambda _: Prepared(text="{}", stored={})  # noqa: E731  (as a storage)
    values = ["x" * 100_000] * 500

    tracemalloc.start()
    payloads.prepare(values, "orders", elsewhere=elsewhere)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < sum(map(len, values))


def test_what_can_only_be_gone_through_once_is_taken(payloads: Payloads) -> None:
    values: Any = deque([1, {"a": 2}])

    assert [each.text for each in payloads.prepare(values, "orders")] == ["1", '{"a":2}']
    assert payloads.prepare([], "orders") == []


def test_a_payload_is_its_own_and_not_the_callers(payloads: Payloads) -> None:
    value = {"items": [1]}
    (prepared,) = payloads.prepare([value], "orders")

    value["items"].append(2)

    assert prepared.stored == {"items": [1]}


def test_the_same_payload_is_the_same_however_it_is_encoded(payloads: Payloads) -> None:
    def of(settings: Payloads, value: Any) -> Prepared:
        return settings.prepare([value], "orders", unique_keys=["one"])[0]

    plain, stored = of(Payloads(), LARGE), of(payloads, LARGE)
    packed = of(Payloads(storage=payloads.storage, threshold=1, compression="zstd"), LARGE)

    for one in (plain, stored, packed):
        for other in (plain, stored, packed):
            assert one.is_same_as(other.stored, other.codec)
        assert not of(payloads, SMALL).is_same_as(one.stored, one.codec)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 5_000])
def test_a_destination_without_a_threshold_makes_an_object_of_everything(
    payloads: Payloads, tmp_path: Path, content: bytes
) -> None:
    destination = Destination(payloads.require_storage(), ("orders",), threshold=None)
    with Sink(payloads, destination, "bytes", OWNER) as sink:
        if content:
            sink.write(content)
        prepared = sink.finish()

    assert [path.read_bytes() for path in files(tmp_path)] == [content]
    assert prepared.uri == files(tmp_path)[0].as_uri()
    with payloads.open(prepared.stored, prepared.codec, queue="orders") as file:
        assert file.read() == content


def test_what_is_not_finished_leaves_nothing(payloads: Payloads, tmp_path: Path) -> None:
    destination = Destination(payloads.require_storage(), ("orders",), threshold=None)

    with (
        pytest.raises(OSError, match="no more"),
        Sink(payloads, destination, "bytes", OWNER) as sink,
    ):
        sink.write(b"x" * 5_000)
        raise OSError("no more")

    assert files(tmp_path) == []


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"keys": KEY}])
def test_closing_what_is_read_closes_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    payloads = Payloads(storage=tmp_path.as_uri(), threshold=1_000, **options)
    (prepared,) = payloads.prepare([LARGE], "orders")
    lent: list[BinaryIO] = []
    open_object = Storage.open

    def lend(self: Storage, reference: Any) -> BinaryIO:
        lent.append(open_object(self, reference))
        return lent[-1]

    monkeypatch.setattr(Storage, "open", lend)

    with payloads.open(prepared.stored, prepared.codec, queue="orders") as file:
        assert file.read(10) == b'{"rows":[0'

    assert [each.closed for each in lent] == [True]


def test_options_are_shared_by_copies(payloads: Payloads) -> None:
    assert copy.deepcopy(payloads) is payloads
