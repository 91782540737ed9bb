"""Payloads: how the payloads of a queue are stored, and how they are read again.

A payload that is plain JSON and small stands in the row as it is. Any other is encoded by a codec;
above the threshold it becomes an object of the storage, compressed and encrypted if so set, else it
stands encoded in the row. ``xclaim.payloads.envelope`` says what the row has of it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from xclaim.errors import (
    InvalidArgumentError,
    PayloadCorruptedError,
    PayloadError,
    PayloadGoneError,
    PayloadReadError,
    PayloadRefusedError,
    StorageError,
)
from xclaim.payloads import plain
from xclaim.payloads.envelope import FERNET, JSON, TYPED_JSON, ZSTD, Envelope, Prepared, suffixes
from xclaim.payloads.sink import Sink
from xclaim.payloads.typed_json import TypedJson

if TYPE_CHECKING:
    from xclaim.payloads.codecs import Codec
    from xclaim.payloads.encryption import Keys
    from xclaim.payloads.storage import Storage

THRESHOLD = 64 * 1024  # bytes: beyond, PostgreSQL keeps a value in hundreds of pieces
MAX_SIZE = 1024**3  # bytes that reading a payload as a whole may take
_JSON_TYPES = (dict, list, str, int, float, bool, type(None))


class AfterAck(StrEnum):
    """What is left of a payload once its message is consumed."""

    KEEP = "keep"  # all of it, until prune
    DIGEST = "digest"  # size and SHA-256: enough to refuse another payload under its unique_key
    DROP = "drop"  # nothing


class Typed(Protocol):
    """A queue's type: turns its values into JSON and JSON into its values."""

    def to_json(self, value: Any) -> Any:
        """Return the value as JSON. Raise PayloadError if it is not of the type."""

    def from_json(self, value: Any) -> Any:
        """Return the value. Raise PayloadCorruptedError if the JSON is not of the type."""


class Payloads:
    """How a queue stores and reads payloads; one may serve many queues, threads and processes.

    ``storage`` is where payloads of more than ``threshold`` bytes go: a URL (``s3://bucket/path``,
    ``gs://``, ``abfs://``, ``file:///path``) or a Storage; None keeps all in the row.
    ``max_size`` bounds what ``payload`` reads into memory, ``open()`` has no limit. ``codecs`` are
    asked before xclaim's own. ``allow`` names the dataclasses and enumerations that may be read:
    classes, or patterns such as ``"shop.orders.*"``. ``compression="zstd"`` is for what is larger
    than the threshold. ``keys`` encrypt every payload: Fernet keys, the first encrypts, all
    decrypt. Raise InvalidArgumentError for what cannot be used; nothing is connected yet.
    """

    def __init__(
        self,
        *,
        storage: Storage | str | None = None,
        threshold: int = THRESHOLD,
        max_size: int = MAX_SIZE,
        codecs: Sequence[Codec] = (),
        allow: Sequence[type | str] = (),
        compression: str | None = None,
        keys: Keys | str | Sequence[str] | None = None,
        after_ack: str = AfterAck.KEEP,
    ) -> None:
        self.storage = _storage(storage)
        self.threshold = _bytes("threshold", threshold, least=0)
        self.max_size = _bytes("max_size", max_size, least=1)
        self.codecs = tuple(codecs)
        self.allow = tuple(allow)
        self.compression = _compression(compression)
        self.keys = _keys(keys)
        self.after_ack = _after_ack(after_ack)
        self.type: Typed | None = None

    @classmethod
    def from_environment(cls) -> Payloads | None:
        """Return what XCLAIM_STORAGE and XCLAIM_FERNET_KEYS say; None if neither is set."""
        names = (
            "XCLAIM_STORAGE",
            "XCLAIM_FERNET_KEYS",
            "XCLAIM_STORAGE_THRESHOLD",
            "XCLAIM_STORAGE_OPTIONS",
        )
        location, keys, *others = (os.environ.get(name) or None for name in names)
        if location is None and keys is None:
            return None
        return _from_environment(location, keys, *others)

    def typed(self, type_: Any) -> Payloads:
        """Return the same for a queue whose payloads are of a type."""
        from xclaim.payloads.models import Model

        typed = type(self).__new__(type(self))
        typed.__dict__.update(self.__dict__, type=Model(type_))
        return typed

    def prepare(self, values: Sequence[Any], queue: str, *, keyed: bool = False) -> list[Prepared]:
        """Return the payloads as their rows will have them; large ones are in the storage then.

        ``keyed``: they are to be compared with what stands under their unique keys. Raise
        PayloadError or StorageError; then nothing is left in the storage.
        """
        prepared = self._prepare_plain(values)
        if prepared is not None:
            return prepared
        done: list[Prepared] = []
        try:
            for index, value in enumerate(values):
                done.append(self._prepare(value, queue, plain.name_of(index), keyed=keyed))
        except BaseException as error:
            self.discard(done, error)
            raise
        return done

    def discard(self, prepared: Iterable[Prepared], error: BaseException | None = None) -> None:
        """Remove the objects of payloads that have not become messages; keep a failure to do so.

        What cannot be removed now is an orphan, and found as one later.
        """
        uris = [each.uri for each in prepared if each.uri is not None]
        if not uris or self.storage is None:
            return
        try:
            self.storage.delete(uris)
        except StorageError as cause:
            if error is not None:
                error.add_note(f"xclaim could not remove {len(uris)} objects again: {cause}")

    def read(self, stored: Any, codec: str | None) -> Any:
        """Return the payload. Raise PayloadReadError or StorageError."""
        if codec is None:
            return stored if self.type is None else self.type.from_json(stored)
        envelope = Envelope.of(stored, codec)
        value = self._decode(envelope)
        return value if self.type is None else self.type.from_json(value)

    def open(self, stored: Any, codec: str | None) -> BinaryIO:
        """Return the encoded payload as a file, which is read and checked in pieces.

        The bytes are what the codec made of the payload, without compression and encryption. The
        end is handed out only after size and digest were found right.
        """
        if codec is None:
            return io.BytesIO(plain.encode(stored).text.encode())
        envelope = Envelope.of(stored, codec)
        if envelope.is_json:
            return io.BytesIO(plain.encode(envelope.json).text.encode())
        file = self._raw(envelope)
        for suffix in reversed(suffixes(codec)):
            file = self._without(suffix, file, envelope)
        return file

    def is_same(self, prepared: Prepared, stored: Any, codec: str | None) -> bool:
        """Return whether a payload is what stands stored already, however that is encoded."""
        if codec is None:
            return prepared.digest == plain.digest(stored)
        envelope = Envelope.of(stored, codec)
        if envelope.is_dropped:
            return True  # nothing is left to compare with
        if envelope.key is not None:
            if self.keys is None or envelope.fingerprint is None:
                return False
            ours = self.keys.fingerprint(prepared.digest, envelope.key)
            return ours == envelope.fingerprint
        return prepared.digest == envelope.content_digest()

    def require_storage(self) -> Storage:
        """Return the storage. Raise InvalidArgumentError if there is none."""
        if self.storage is None:
            raise InvalidArgumentError(
                "no payload storage: set XCLAIM_STORAGE, or pass Payloads(storage=...)"
            )
        return self.storage

    def __repr__(self) -> str:
        """Return the settings that differ from the defaults, without any secret."""
        shown = [
            None if self.storage is None else f"storage={self.storage.url!r}",
            None if self.keys is None else "keys=...",
            None if self.compression is None else f"compression={self.compression!r}",
            None if self.after_ack is AfterAck.KEEP else f"after_ack={self.after_ack.value!r}",
        ]
        return f"Payloads({', '.join(filter(None, shown))})"

    def _prepare_plain(self, values: Sequence[Any]) -> list[Prepared] | None:
        # What nearly all queues push, at the price of a length more: None if one is anything else.
        if self.keys is not None or self.type is not None or self.codecs:
            return None
        if not all(type(value) in _JSON_TYPES for value in values):
            return None
        encoded = plain.encode_each(values)
        if encoded is None:
            return None
        if self.storage is not None or self.compression is not None:
            longest = max((len(each.text) for each in encoded), default=0)
            if longest * 4 > self.threshold and any(  # four bytes a character at most
                len(each.text.encode()) > self.threshold for each in encoded
            ):
                return None
        return [Prepared(text=each.text, value=each.value) for each in encoded]

    def _prepare(self, value: Any, queue: str, place: str, *, keyed: bool) -> Prepared:
        if self.type is not None:
            value = _at(place, self.type.to_json, value)
        elif (own := next((each for each in self.codecs if each.accepts(value)), None)) is not None:
            return self._encode(own, value, queue, place, keyed=keyed)
        try:
            encoded = plain.encode(value, place)
        except PayloadError as error:
            return self._encode(self._codec_for(value, error), value, queue, place, keyed=keyed)
        data = encoded.text.encode()
        is_large = len(data) > self.threshold and not (
            self.storage is None and self.compression is None
        )
        if not is_large and self.keys is None:
            return Prepared(text=encoded.text, value=encoded.value)
        return self._encode_json(JSON, encoded, queue, keyed=keyed)

    def _encode_json(
        self, codec: str, encoded: plain.Encoded, queue: str, *, keyed: bool
    ) -> Prepared:
        digest = plain.digest(encoded.value) if keyed else None
        with Sink(self, queue, codec, keyed=keyed) as sink:
            sink.write(encoded.text.encode())
            return sink.finish(digest)

    def _encode(self, codec: Codec, value: Any, queue: str, place: str, *, keyed: bool) -> Prepared:
        if isinstance(codec, TypedJson):
            tagged = plain.encode(_at(place, codec.to_json, value), place)
            return self._encode_json(codec.name, tagged, queue, keyed=keyed)
        with Sink(self, queue, codec.name, keyed=keyed) as sink:
            _at(place, codec.encode, value, sink)
            return sink.finish()

    def _codec_for(self, value: Any, error: PayloadError) -> Codec:
        from xclaim.payloads.codecs import codec_for

        codec = codec_for(value, (self._typed_json(),))
        if codec is None:
            raise error
        return codec

    def _typed_json(self) -> TypedJson:
        return TypedJson(self.allow)

    def _decode(self, envelope: Envelope) -> Any:
        if envelope.is_gone:
            raise PayloadGoneError(
                f"the payload was {'dropped' if envelope.is_dropped else 'reduced to its digest'} "
                "when its message was consumed, as Payloads(after_ack=...) says"
            )
        base = envelope.codec.partition("+")[0]
        if envelope.is_json:
            return self._typed_json().from_json(envelope.json)
        decode = self._decoder(base)
        data = self._content(envelope)
        return _decoded(base, decode, data)

    def _decoder(self, base: str) -> Callable[[BinaryIO], Any]:
        if base == JSON:
            return _decode_json
        if base == TYPED_JSON:
            return self._typed_json().decode
        from xclaim.payloads.codecs import codec_named

        return codec_named(base, self.codecs).decode

    def _content(self, envelope: Envelope) -> bytes:
        if envelope.reference is not None:
            if envelope.reference.size > self.max_size:
                raise self._too_large(f"{envelope.reference.size} bytes")
            if "+" not in envelope.codec:
                return self._storage_of(envelope).read(envelope.reference, self.max_size)
        with self.open(envelope.stored, envelope.codec) as file:
            data = file.read(self.max_size + 1)
            if len(data) > self.max_size:
                raise self._too_large(f"more than {self.max_size} bytes")
            rest = file.read(1)  # the end: what checks it says now if it is wrong
        if rest:
            raise PayloadCorruptedError("the payload goes on after its end")
        return data

    def _raw(self, envelope: Envelope) -> BinaryIO:
        if envelope.is_gone:
            self._decode(envelope)
        if envelope.reference is not None:
            return self._storage_of(envelope).open(envelope.reference)
        return io.BytesIO(envelope.data or b"")

    def _storage_of(self, envelope: Envelope) -> Storage:
        if self.storage is None:
            where = envelope.reference.uri if envelope.reference else ""
            raise PayloadRefusedError(
                f"the payload is stored as {where}, and no storage is configured here: set "
                "XCLAIM_STORAGE, or pass Payloads(storage=...) to the queue"
            )
        return self.storage

    def _without(self, suffix: str, file: BinaryIO, envelope: Envelope) -> BinaryIO:
        if suffix == FERNET:
            return _required_keys(self.keys, envelope).decrypting(file, envelope.key)
        from xclaim.payloads.compression import decompressing

        return decompressing(file)

    def _too_large(self, size: str) -> PayloadRefusedError:
        return PayloadRefusedError(
            f"the payload has {size}, more than the {self.max_size} that are read into memory: "
            "stream it with claim.open(), or raise Payloads(max_size=...)"
        )


def _decode_json(file: BinaryIO) -> Any:
    return json.loads(file.read())


def _decoded(name: str, decode: Callable[[BinaryIO], Any], data: bytes) -> Any:
    try:
        return decode(io.BytesIO(data))
    except (PayloadReadError, MemoryError):
        raise
    except Exception as error:
        raise PayloadCorruptedError(
            f"the payload cannot be decoded by its codec {name!r} ({type(error).__name__}: "
            f"{error}): it was pushed by another version, or is none of its making"
        ) from error


def _at(place: str, encode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return encode(*arguments)
    except PayloadError as error:
        if place == "payload" or str(error).startswith(place):
            raise
        raise PayloadError(f"{place}: {error}") from error


def _required_keys(keys: Keys | None, envelope: Envelope) -> Keys:
    from xclaim.errors import EncryptionKeyError

    if keys is None:
        raise EncryptionKeyError(
            f"the payload is encrypted with the key {envelope.key}, and there are no keys here: "
            "set XCLAIM_FERNET_KEYS, or pass Payloads(keys=...) to the queue"
        )
    return keys


@lru_cache(maxsize=8)
def _from_environment(
    location: str | None, keys: str | None, threshold: str | None, options: str | None
) -> Payloads:
    try:
        size = THRESHOLD if threshold is None else int(threshold)
    except ValueError as error:
        raise InvalidArgumentError(
            f"XCLAIM_STORAGE_THRESHOLD is {threshold!r}, not a number of bytes"
        ) from error
    if location is None:
        return Payloads(keys=keys, threshold=size)
    from xclaim.payloads.storage import Storage

    storage = Storage(location, options=_storage_options(options))
    return Payloads(storage=storage, keys=keys, threshold=size)


def _storage_options(options: str | None) -> Mapping[str, Any]:
    try:
        parsed = json.loads(options) if options else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):  # without its text, which may hold a secret
        raise InvalidArgumentError(
            'XCLAIM_STORAGE_OPTIONS is no JSON object: write {"endpoint_url": "http://..."}'
        )
    return parsed


def _storage(storage: Storage | str | None) -> Storage | None:
    if storage is None:
        return None
    from xclaim.payloads.storage import Storage

    if isinstance(storage, Storage):
        return storage
    if isinstance(storage, str):
        return Storage(storage)
    raise InvalidArgumentError(f"storage must be a URL or a Storage, not {type(storage).__name__}")


def _keys(keys: Keys | str | Sequence[str] | None) -> Keys | None:
    if keys is None:
        return None
    from xclaim.payloads.encryption import Keys

    return keys if isinstance(keys, Keys) else Keys(keys)


def _bytes(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgumentError(
            f"{name} must be a number of bytes of at least {least}, not {value!r}"
        )
    return value


def _compression(value: str | None) -> str | None:
    if value not in (None, ZSTD):
        raise InvalidArgumentError(f"compression must be {ZSTD!r} or None, not {value!r}")
    return value


def _after_ack(value: str) -> AfterAck:
    try:
        return AfterAck(value)
    except ValueError as error:
        names = ", ".join(AfterAck)
        raise InvalidArgumentError(f"after_ack is one of {names}, not {value!r}") from error
