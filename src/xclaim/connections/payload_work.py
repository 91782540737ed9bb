"""Prepare payloads before a statement, and delete objects after it.

Payloads are encoded, and large ones stored, before a connection is taken. Objects are deleted only
after the statement that removed their messages is committed; one that cannot be deleted is an
orphan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import attrgetter
from typing import Any

from xclaim.claims import Claim
from xclaim.errors import ClaimLostError, InvalidArgumentError, PayloadReadError, XclaimError
from xclaim.message import Message
from xclaim.payloads.envelope import ZSTD, Owner, Prepared, own_object
from xclaim.payloads.options import AfterAck
from xclaim.payloads.payloads import Payloads
from xclaim.payloads.reading import check, checked
from xclaim.payloads.stores.references import OwnObject

_logger = logging.getLogger("xclaim")

_QUICK = 64 * 1024  # characters: decoded in 0.3 ms, encrypted ones too
_QUICK_CODECS = ("json", "json-types", "bytes")

_CODEC_OF: dict[Any, Callable[[Any], Any]] = {
    Claim: attrgetter("message.codec"),
    Message: attrgetter("codec"),
}

IN_THE_ROW = Payloads()  # what holds when nothing is set


def settings_of(payloads: Payloads | None, type_: Any) -> Payloads:
    """Return how a queue stores its payloads: as it says, else as the environment says."""
    if not isinstance(payloads, Payloads | None):
        raise InvalidArgumentError(f"payloads must be Payloads(...), not {type(payloads).__name__}")
    settings = payloads or Payloads.by_default()
    return settings if type_ is None else settings.typed(type_)


def delete_unused(
    settings: Payloads, prepared: Iterable[Prepared], messages: Iterable[Message]
) -> None:
    """Delete what was stored for messages that were there already."""
    used = {own_object_of(message) for message in messages}
    mine = [each.own_object for each in prepared]
    delete_objects(settings, [each for each in mine if each not in used])


def delete_consumed(
    settings: Payloads, claims: Iterable[Claim], error: BaseException | None = None
) -> None:
    """Delete the objects of claims that were acked; of a batch those that the error leaves."""
    if settings.storage is None or settings.after_ack is AfterAck.KEEP:
        return
    if error is not None and not isinstance(error, ClaimLostError):
        return
    lost = {claim.token for claim in error.claims} if error is not None else set()
    kept = [claim for claim in claims if claim.token not in lost]
    delete_objects(settings, [own_object_of(claim.message) for claim in kept])


def own_object_of(message: Message) -> OwnObject | None:
    """Return the object that a message's row names; None if it names none."""
    try:
        return own_object(message.stored, message.codec, message.origin_queue)
    except PayloadReadError:  # of a row that was changed by hand
        return None


def delete_objects(settings: Payloads, objects: Iterable[OwnObject | None]) -> None:
    """Delete the objects; those that cannot be reached now are orphans, and found as such later.

    One that lies elsewhere than in the folder of its row's queue is not touched: the row was
    written by hand, and the object may be that of another queue.
    """
    storage = settings.storage
    named = [each for each in objects if each is not None]
    if not named or storage is None:
        return
    found = [uri for uri, queue in named if storage.is_in(uri, queue)]
    if len(found) < len(named):
        _logger.warning(
            "%d objects stay that rows name and that are not below %s in the folders of the rows' "
            "queues",
            len(named) - len(found),
            storage.url,
        )
    try:
        storage.delete(found)
    except XclaimError as error:
        _logger.warning(
            "%d objects of payloads stay until `xclaim prune --orphans` finds them: %s",
            len(found),
            error,
        )


def read_by(settings: Payloads, result: Any) -> Any:
    """Return what a verb returned so that its payloads are read as the queue's settings say."""
    match result:
        case list():
            if not settings.reads_plain_json and _are_plain(result):
                return result
            return [read_by(settings, each) for each in result]
        case Message():
            return result.read_by(settings)
        case Claim():
            message = result.message.read_by(settings)
            return result if message is result.message else replace(result, message=message)
        case _:
            return result


def takes_long(message: Message) -> bool:
    """Return whether an event loop should not wait for the payload to be decoded.

    What is in a storage is read with ``queue.read``, and is not meant here.
    """
    if message.codec is None:
        return False
    try:
        data = message.stored.get("data")
        size, (base, *stages) = len(data), message.codec.split("+")
    except (PayloadReadError, AttributeError, TypeError):  # it has none in its row, or is not ours
        return False
    return size > _QUICK or base not in _QUICK_CODECS or ZSTD in stages


def unreadable(message: Message, *, decodes: bool = True) -> PayloadReadError | None:
    """Return why the message cannot be read, as far as its row tells; None if it can.

    What is in a storage is not fetched for this, and no payload decoded unless ``decodes``.
    """
    try:
        _ = message.headers
        if message.codec is None or (decodes and own_object_of(message) is None):
            _ = message.payload  # which it keeps
        else:
            reader = message.reader
            settings = reader if isinstance(reader, Payloads) else Payloads.by_default()
            owner = Owner((message.origin_queue,), message.unique_key)
            if envelope := checked(settings, message.stored, message.codec, owner):
                check(settings, envelope)
    except PayloadReadError as error:
        error.message_id = message.id
        return error
    except Exception:  # noqa: BLE001  (of a codec; it is raised again where the payload is used)
        return None
    return None


def _are_plain(results: list[Any]) -> bool:
    """Return whether plain JSON is all that they have; they are all of one kind."""
    kind = type(results[0]) if results else None
    if kind not in _CODEC_OF:
        return True
    return {*map(_CODEC_OF[kind], results)} == {None}
