"""Messages whose fields are filled when they are read: nobody can tell them from others."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from xclaim import Claim, Message, Queue

TEXT = "a payload that stands in one place only"
OPTIONS: dict[str, Any] = {"priority": 3, "headers": {"by": "hand"}, "max_attempts": 7}


@pytest.fixture
def queue(database_url: str) -> Iterator[Queue]:
    """Return a queue on each database."""
    with Queue("orders", database_url) as queue:
        yield queue


def pushed(queue: Queue) -> Message:
    """Return a message as a push returns it."""
    message: Message = queue.push([TEXT], **OPTIONS)
    return message


def claimed(queue: Queue) -> Message:
    """Return a message as a claim returns it."""
    return a_claim(queue).message


def a_claim(queue: Queue) -> Claim:
    """Push a message that has been released with an error, and claim it."""
    queue.push([TEXT], unique_key="one", **OPTIONS)
    first = queue.claim()
    assert first is not None
    queue.release(first, error=ValueError("no"), delay=timedelta(0))
    claim = queue.claim(claimed_by="me", claim_key="mine")
    assert claim is not None
    return claim


@pytest.mark.parametrize("make", [pushed, claimed])
def test_each_field_is_that_of_the_row(queue: Queue, make: Callable[[Queue], Message]) -> None:
    message = make(queue)

    in_full = queue.get(message.id)

    assert in_full is not None
    assert message == in_full
    for field in dataclasses.fields(Message):
        if field.name != "reader":
            assert getattr(message, field.name) == getattr(in_full, field.name), field.name


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda message: pickle.loads(pickle.dumps(message)),  # noqa: S301  (our own)
        lambda message: Message.from_dict(message.to_dict()),
        lambda message: message.expiring(message.claim_expires_at),
    ],
)
def test_a_message_that_nobody_has_read_is_handed_on(queue: Queue, again: Any) -> None:
    message = claimed(queue)

    other = again(message)

    assert other == queue.get(message.id)
    assert other.payload == [TEXT]


def test_a_repr_is_that_of_a_message_made_in_full(queue: Queue) -> None:
    message = claimed(queue)

    shown = repr(message)

    assert shown == repr(queue.get(message.id))


def test_a_claim_is_equal_to_one_that_was_read(queue: Queue) -> None:
    claim = a_claim(queue)

    read = Claim.from_dict(claim.to_dict())

    assert claim == read
    assert claim.expires_at == read.expires_at


def test_headers_are_each_messages_own(queue: Queue) -> None:
    one, other = queue.push_many([1, 2], headers={"by": "hand"})

    one.headers["by"] = "me"

    assert other.headers == {"by": "hand"}


def test_no_field_can_be_set(queue: Queue) -> None:
    message = claimed(queue)

    with pytest.raises(dataclasses.FrozenInstanceError):
        message.attempts = 0  # type: ignore[misc]

    assert message.attempts == 2


def test_what_is_no_field_is_no_attribute(queue: Queue) -> None:
    message = claimed(queue)

    with pytest.raises(AttributeError, match="'Message' object has no attribute 'paylaod'"):
        _ = message.paylaod  # type: ignore[attr-defined]


class _Broken:
    reads_plain_json = True

    def read(self, *_: Any, **__: Any) -> Any:
        raise AttributeError("of the codec's own")

    open = read


def test_an_attribute_error_of_a_reader_says_what_it_said(queue: Queue) -> None:
    message = claimed(queue).read_by(_Broken())

    with pytest.raises(AttributeError, match="of the codec's own"):
        _ = message.payload


def test_the_text_of_a_payload_is_not_kept_beside_its_value(queue: Queue) -> None:
    claim = a_claim(queue)

    assert claim.payload == [TEXT]

    assert [each for each in _reachable_from(claim) if TEXT in each] == [TEXT]


def _reachable_from(claim: Claim) -> list[str]:
    """Return the texts that the claim keeps alive."""
    seen: dict[int, Any] = {}
    left: list[Any] = [claim]
    while left:
        found = left.pop()
        if id(found) not in seen and isinstance(found, Claim | Message | tuple | list | dict | str):
            seen[id(found)] = found
            left += gc.get_referents(found)
        elif isinstance(found, bytes):
            left.append(found.decode("utf-8", "replace"))
    return [each for each in seen.values() if isinstance(each, str)]
