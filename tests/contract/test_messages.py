"""A message is a value: replaced, copied and sent elsewhere it is the same one, and readable."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.contract.facades import Facade
from xclaim import Claim, Message, Payloads, Queue
from xclaim.message import Draft

LARGE = {"rows": [[number, f"name {number}"] for number in range(1_000)]}
KEY = Fernet.generate_key().decode()


@dataclass(frozen=True)
class Order:
    id: int
    ordered_on: date


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": ({"id": 1}, {}),
    "typed": (Order(1, date(2026, 11, 26)), {"type": Order}),
    "encoded": ({"at": datetime(2026, 11, 26, tzinfo=UTC), "tags": {"a"}}, {}),
    "bytes": (b"\x00\xff" * 10, {}),
    "encrypted": ({"secret": 1}, {"keys": KEY}),
    "stored": (LARGE, {"threshold": 1_000}),
}
WAYS: dict[str, Callable[[Message], Message]] = {
    "replace": lambda message: replace(message, priority=7),
    "replace of nothing": replace,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda message: pickle.loads(pickle.dumps(message)),  # noqa: S301  (our own)
    "expiring": lambda message: message.expiring(datetime(2027, 1, 1, tzinfo=UTC)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def claimed(
    kind: str, facade: Facade, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Claim:
    payload, options = KINDS[kind]
    if "keys" in options:  # a pickle carries none
        monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    type_ = options.get("type")
    own = {each: value for each, value in options.items() if each != "type"}
    queue = facade.queue(name, type=type_, payloads=Payloads(storage=tmp_path.as_uri(), **own))
    queue.push(payload)
    claim = queue.claim()
    assert claim is not None
    return claim


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_made_of_a_message_is_readable(
    claimed: Claim, kind: str, way: str, is_read: bool
) -> None:
    message = claimed.message
    assert not is_read or message.payload == KINDS[kind][0]

    again = WAYS[way](message)

    assert type(again) is Message
    assert again.payload == KINDS[kind][0]
    assert again.stored == message.stored
    assert (again.id, again.codec, again.headers) == (message.id, message.codec, message.headers)
    with again.open() as file, message.open() as original:
        assert file.read() == original.read()


def test_a_copy_is_equal_and_only_what_is_replaced_differs(claimed: Claim) -> None:
    message = claimed.message

    assert copy.deepcopy(message) == copy.copy(message) == replace(message) == message
    assert replace(message, priority=7) != message
    assert replace(message, priority=7).priority == 7
    assert copy.deepcopy(message).stored is not message.stored


def test_what_is_replaced_is_what_is_read(claimed: Claim) -> None:
    assert claimed.payload is not None  # and kept

    assert replace(claimed.message, stored={"id": 2}, codec=None, reader=None).payload == {"id": 2}


def test_what_was_read_is_kept_and_not_read_again(
    facade: Facade, name: str, tmp_path: Path
) -> None:
    queue = facade.queue(name, payloads=Payloads(storage=tmp_path.as_uri(), threshold=1_000))
    queue.push(LARGE)
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload is claimed.payload
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        path.unlink()

    extended = queue.extend(claimed)

    assert extended.message.expiring(datetime(2027, 1, 1, tzinfo=UTC)).payload is claimed.payload


def test_a_message_in_json_keeps_what_is_stored_under_payload(claimed: Claim) -> None:
    values = claimed.message.to_dict()

    again = Message.from_dict(values)

    assert values["payload"] == claimed.message.stored
    assert not {"stored", "reader", "_value"} & values.keys()
    assert again == claimed.message
    assert again.reader is None


def test_a_message_of_another_process_is_read_as_the_environment_says(queue: Queue) -> None:
    values = queue.push({"at": date(2026, 11, 26)}).to_dict()
    code = (
        "import json, sys; from xclaim.message import Message;"
        "print(Message.from_dict(json.load(sys.stdin)).payload)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.strip() == "{'at': datetime.date(2026, 11, 26)}"


def test_a_message_is_frozen_and_shows_no_payload(claimed: Claim) -> None:
    message: Any = claimed.message
    assert message.payload is not None

    for name in ("id", "stored", "_value"):
        with pytest.raises(FrozenInstanceError):
            setattr(message, name, 1)
    assert not hasattr(message, "__dict__")
    assert f"id={message.id}" in repr(message)
    for name in ("stored", "payload", "reader", "headers", "_value"):
        assert f"{name}=" not in repr(message)


def test_a_reader_that_changes_nothing_leaves_the_message_as_it_is(
    queue: Queue, tmp_path: Path
) -> None:
    untyped, typed = Payloads(storage=tmp_path.as_uri()), Payloads().typed(Order)
    message = queue.push({"id": 1, "ordered_on": "2026-11-26"})

    assert message.read_by(untyped) is message
    read = message.read_by(typed)
    assert read.payload == Order(1, date(2026, 11, 26))
    assert read.read_by(typed) is read
    assert read.read_by(untyped).payload == {"id": 1, "ordered_on": "2026-11-26"}


def test_an_encoded_message_is_read_by_whom_it_is_given(queue: Queue) -> None:
    message = queue.push({"at": date(2026, 11, 26)})
    reader = Payloads()

    read = message.read_by(reader)

    assert read.reader is reader
    assert read.read_by(reader) is read
    assert read.payload == {"at": date(2026, 11, 26)}


def test_a_draft_has_the_fields_of_a_message() -> None:
    assert [field.name for field in fields(Draft)] == [field.name for field in fields(Message)]
