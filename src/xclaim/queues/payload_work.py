"""What a queue with payloads of its own kind does before and after the SQL of a verb.

Payloads are encoded, and large ones stored, before a connection is taken. Objects are deleted only
after the statement that took their messages away is committed; what fails there is an orphan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from xclaim import verbs
from xclaim.errors import ClaimLostError, InvalidArgumentError, XclaimError
from xclaim.message import Claim, Message
from xclaim.payloads.envelope import Prepared, object_uri
from xclaim.payloads.options import AfterAck
from xclaim.payloads.payloads import Payloads

logger = logging.getLogger("xclaim")


class Work:
    """One call of a verb. ``before`` and ``after`` may block: they encode, and use the storage.

    ``commits``: whether the statement is committed when the verb returns; not on a connection of
    the caller, who may roll back.
    """

    def __init__(
        self,
        settings: Payloads,
        verb: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        *,
        commits: bool,
    ) -> None:
        self._settings = settings
        self._verb = verb
        self._commits = commits
        self._prepared: list[Prepared] = []
        self._removed: list[str] | None = [] if commits and settings.storage is not None else None
        self.arguments = arguments
        self.options = options
        self.stores = verb in verbs.PUSHING
        if verb in verbs.ACKING and settings.after_ack is not AfterAck.KEEP:
            options["after"] = settings.after_ack
        if verb in verbs.DELETING:
            options["removed"] = self._removed

    @property
    def deletes(self) -> bool:
        """Whether there may be objects to delete afterwards."""
        if self.stores or not self._commits or self._settings.storage is None:
            return self.stores
        return self._verb in verbs.DELETING or "after" in self.options

    def before(self) -> None:
        """Encode what is pushed, and store what is large. Raise PayloadError or StorageError."""
        queue, given, *others = self.arguments
        is_one = self._verb is verbs.push
        values = [given] if is_one else verbs.listed("payloads", given)
        keys = self.options.get("unique_key" if is_one else "unique_keys")
        verbs.check_push(queue, self.options)
        self._prepared = self._settings.prepare(values, queue, keyed=keys is not None)
        self.arguments = (queue, self._prepared[0] if is_one else self._prepared, *others)

    def after(self, result: Any) -> None:
        """Delete the objects that belong to no message any more."""
        if self.stores:
            messages = [result] if isinstance(result, Message) else result
            used = {object_uri(message.stored, message.codec) for message in messages}
            self._delete(each.uri for each in self._prepared if each.uri not in used)
        elif self._verb in verbs.DELETING:
            self._delete(self._removed or [])
        else:
            self._delete(map(_object_of, self._claims()))

    def failed(self, error: BaseException) -> None:
        """Delete the objects of what was refused, or else of what was acked all the same.

        After an error of the database nobody knows whether the statement was carried out.
        """
        if self.stores and isinstance(error, XclaimError):
            self._settings.discard(self._prepared, error)
        elif isinstance(error, ClaimLostError) and self.deletes:
            lost = {claim.token for claim in error.claims}
            self._delete(_object_of(each) for each in self._claims() if each.token not in lost)

    def _claims(self) -> list[Claim]:
        if self._verb is verbs.ack_and_claim:
            return list(self.arguments[1])
        given = self.arguments[0]
        return [given] if isinstance(given, Claim) else list(given)

    def _delete(self, uris: Iterable[str | None]) -> None:
        delete_objects(self._settings, uris)


def verbs_with_work(settings: Payloads | None) -> frozenset[Callable[..., Any]]:
    """Return the verbs that may have something to store or to delete; the others pay nothing."""
    if settings is None:
        return verbs.PUSHING
    acking = () if settings.after_ack is AfterAck.KEEP else verbs.ACKING
    return verbs.PUSHING.union(verbs.DELETING, acking)


def settings_of(payloads: Payloads | None, type_: Any) -> Payloads | None:
    """Return the settings of a queue; None if all its payloads are plain JSON in the row."""
    if not isinstance(payloads, Payloads | None):
        raise InvalidArgumentError(f"payloads must be Payloads(...), not {type(payloads).__name__}")
    settings = Payloads.from_environment() if payloads is None else payloads
    if type_ is None:
        return settings
    return (settings or Payloads()).typed(type_)


def after_ack_of(settings: Payloads | None) -> AfterAck:
    """Return what is left of a payload after its ack."""
    return AfterAck.KEEP if settings is None else settings.after_ack


def delete_objects_of(settings: Payloads | None, claim: Claim) -> None:
    """Delete the object of a claim whose ack was committed, unless payloads are kept."""
    if settings is not None and settings.after_ack is not AfterAck.KEEP:
        delete_objects(settings, [_object_of(claim)])


def delete_objects(settings: Payloads, uris: Iterable[str | None]) -> None:
    """Delete the objects; those that cannot be reached now are orphans, and found as such later."""
    found = [uri for uri in uris if uri is not None]
    if not found or settings.storage is None:
        return
    try:
        settings.storage.delete(found)
    except XclaimError as error:
        logger.warning(
            "%d objects of payloads stay until `xclaim prune --orphans` finds them: %s",
            len(found),
            error,
        )


def read_by(settings: Payloads | None, result: Any) -> Any:
    """Return what a verb returned so that its payloads are read as the queue's settings say."""
    if settings is None:
        return result
    match result:
        case list():
            return [read_by(settings, each) for each in result]
        case Message():
            return result.read_by(settings)
        case Claim():
            message = result.message.read_by(settings)
            return result if message is result.message else replace(result, message=message)
        case _:
            return result


def _object_of(claim: Claim) -> str | None:
    return object_uri(claim.message.stored, claim.message.codec)
