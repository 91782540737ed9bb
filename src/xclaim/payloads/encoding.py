"""From a payload to what its row has of it: encoded, and stored where it is large."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xclaim.errors import PayloadError
from xclaim.payloads import plain_json
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.envelope import JSON, Prepared
from xclaim.payloads.writing import Sink

if TYPE_CHECKING:
    from xclaim.payloads.codecs.registry import Codec
    from xclaim.payloads.payloads import Payloads

_JSON_TYPES = frozenset((dict, list, str, int, float, bool, type(None)))


def plain_batch(settings: Payloads, values: Sequence[Any]) -> plain_json.PlainBatch | None:
    """Return the payloads for one statement if all are plain JSON and stay in their rows.

    What nearly all queues push, at the price of what a queue without a storage pays.
    """
    if not values or not _are_plain(settings, values):
        return None
    limit = settings.threshold if _has_room_elsewhere(settings) else sys.maxsize
    encoded = plain_json.encode_within(values, limit)
    return None if encoded is None else plain_json.PlainBatch(encoded)


def prepared_plain(settings: Payloads, values: Sequence[Any]) -> list[Prepared] | None:
    """Return the payloads one by one if all are plain JSON and stay in their rows, else None."""
    if not _are_plain(settings, values):
        return None
    encoded = plain_json.encode_each(values)
    if encoded is None:
        return None
    if _has_room_elsewhere(settings):
        longest = max((len(each.text) for each in encoded), default=0)
        if longest * 4 > settings.threshold and any(  # four bytes a character at most
            len(each.text.encode()) > settings.threshold for each in encoded
        ):
            return None
    return [Prepared(text=each.text, value=each.value) for each in encoded]


class Encoding:
    """The payloads of one push to a queue. ``keyed``: they will be compared with stored ones."""

    def __init__(self, settings: Payloads, queue: str, *, keyed: bool) -> None:
        self._settings = settings
        self._queue = queue
        self._keyed = keyed

    def prepared(self, value: Any, place: str) -> Prepared:
        """Return the payload, which errors call ``place``. Raise PayloadError or StorageError."""
        settings = self._settings
        if isinstance(value, plain_json.Encoded):  # by who checked it, line by line perhaps
            return self._plain(value)
        if settings.type is not None:
            value = _at(place, settings.type.to_json, value)
        else:
            for own in settings.codecs:
                if own.accepts(value):
                    return self._encoded(own, value, place)
        try:
            encoded = plain_json.encode(value, place)
        except PayloadError as error:
            return self._encoded(self._codec_for(value, error), value, place)
        return self._plain(encoded)

    def _plain(self, encoded: plain_json.Encoded) -> Prepared:
        if self._settings.keys is None and not self._is_large(encoded.text):
            return Prepared(text=encoded.text, value=encoded.value)
        return self._json(JSON, encoded)

    def _is_large(self, text: str) -> bool:
        return _has_room_elsewhere(self._settings) and (
            len(text.encode()) > self._settings.threshold
        )

    def _json(self, codec: str, encoded: plain_json.Encoded) -> Prepared:
        digest = plain_json.digest(encoded.value) if self._keyed else None
        with Sink(self._settings, self._queue, codec, keyed=self._keyed) as sink:
            sink.write(encoded.text.encode())
            return sink.finish(digest)

    def _encoded(self, codec: Codec, value: Any, place: str) -> Prepared:
        if isinstance(codec, TypedJson):
            tagged = plain_json.encode(_at(place, codec.to_json, value), place)
            return self._json(codec.name, tagged)
        with Sink(self._settings, self._queue, codec.name, keyed=self._keyed) as sink:
            _at(place, codec.encode, value, sink)
            return sink.finish()

    def _codec_for(self, value: Any, error: PayloadError) -> Codec:
        from xclaim.payloads.codecs.registry import codec_for

        codec = codec_for(value, (TypedJson(self._settings.allow),))
        if codec is None:
            raise error
        return codec


def _are_plain(settings: Payloads, values: Sequence[Any]) -> bool:
    if settings.keys is not None or settings.type is not None or settings.codecs:
        return False
    return _JSON_TYPES.issuperset(map(type, values))


def _has_room_elsewhere(settings: Payloads) -> bool:
    return settings.storage is not None or settings.compression is not None


def _at(place: str, encode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return encode(*arguments)
    except PayloadError as error:
        if place == "payload" or str(error).startswith(place):
            raise
        raise PayloadError(f"{place}: {error}") from error
