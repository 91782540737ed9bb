"""Prepare payloads before a statement, and delete objects after it.

Payloads are encoded, and large ones stored, before a connection is taken. Objects are deleted only
after the statement that removed their messages is committed; one that cannot be deleted is an
orphan.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from xclaim.errors import ClaimLostError, InvalidArgumentError, XclaimError
from xclaim.message import Claim, Message
from xclaim.payloads.envelope import Prepared, object_uri
from xclaim.payloads.options import AfterAck
from xclaim.payloads.payloads import Payloads
from xclaim.verb import Verb

_logger = logging.getLogger("xclaim")

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
    used = {object_uri(message.stored, message.codec) for message in messages}
    delete_objects(settings, [each.uri for each in prepared if each.uri not in used])


def delete_consumed(
    settings: Payloads, claims: Iterable[Claim], error: BaseException | None = None
) -> None:
    """Delete the objects of claims that were acked; of a batch those that the error leaves."""
    if settings.storage is None or settings.after_ack is AfterAck.KEEP:
        return
    if error is not None and not isinstance(error, ClaimLostError):
        return
    lost = {claim.token for claim in error.claims} if error is not None else set()
    delete_objects(settings, [_object_of(claim) for claim in claims if claim.token not in lost])


def delete_objects(settings: Payloads, uris: Iterable[str | None]) -> None:
    """Delete the objects; those that cannot be reached now are orphans, and found as such later."""
    found = [uri for uri in uris if uri is not None]
    if not found or settings.storage is None:
        return
    try:
        settings.storage.delete(found)
    except XclaimError as error:
        _logger.warning(
            "%d objects of payloads stay until `xclaim prune --orphans` finds them: %s",
            len(found),
            error,
        )


def deletes_objects(settings: Payloads, verb: Verb[Any]) -> bool:
    """Return whether objects may have to be deleted after the verb."""
    if settings.storage is None:
        return False
    return verb.deletes or (verb.acks and settings.after_ack is not AfterAck.KEEP)


def read_by(settings: Payloads, result: Any) -> Any:
    """Return what a verb returned so that its payloads are read as the queue's settings say."""
    match result:
        case list():
            if not settings.is_typed and all(map(_is_plain, result)):
                return result
            return [read_by(settings, each) for each in result]
        case Message():
            return result.read_by(settings)
        case Claim():
            message = result.message.read_by(settings)
            return result if message is result.message else replace(result, message=message)
        case _:
            return result


def _is_plain(result: Any) -> bool:
    message = result.message if isinstance(result, Claim) else result
    return not isinstance(message, Message) or message.codec is None


def _object_of(claim: Claim) -> str | None:
    return object_uri(claim.message.stored, claim.message.codec)
