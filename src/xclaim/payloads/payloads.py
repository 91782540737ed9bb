"""Payloads: how the payloads of a queue are stored, and how they are read again.

A payload that is plain JSON and small stands in the row as it is. Any other is encoded by a codec;
above the threshold it becomes an object of the storage, compressed and encrypted if so set, else it
stands encoded in the row. ``xclaim.payloads.envelope`` says what the row has of it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from xclaim.errors import InvalidArgumentError, StorageError
from xclaim.payloads import plain_json
from xclaim.payloads.encoding import Encoding, plain_batch, prepared_plain
from xclaim.payloads.envelope import ZSTD, Envelope, Prepared
from xclaim.payloads.reading import (
    content_digest,
    decoded,
    is_same,
    opened,
    raw,
    required_keys,
)
from xclaim.payloads.recoding import Recoder

if TYPE_CHECKING:
    from xclaim.payloads.codecs.registry import Codec
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.stores.storage import Storage

THRESHOLD = 64 * 1024  # bytes: beyond, PostgreSQL keeps a value in hundreds of pieces
MAX_SIZE = 1024**3  # bytes that reading a payload as a whole may take


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
        self.codecs = _codecs(codecs)
        self.allow = tuple(allow)
        self.compression = _compression(compression)
        self.keys = _keys(keys)
        self.after_ack = _after_ack(after_ack)
        self.type: Typed | None = None

    @classmethod
    def from_environment(cls) -> Payloads | None:
        """Return what XCLAIM_STORAGE and XCLAIM_FERNET_KEYS say; None if neither is set."""
        location, keys = os.environ.get("XCLAIM_STORAGE"), os.environ.get("XCLAIM_FERNET_KEYS")
        if not location and not keys:  # what every push of a verb asks
            return None
        names = ("XCLAIM_STORAGE_THRESHOLD", "XCLAIM_STORAGE_OPTIONS")
        others = (os.environ.get(name) or None for name in names)
        return _from_environment(location or None, keys or None, *others)

    def typed(self, type_: Any) -> Payloads:
        """Return the same for a queue whose payloads are of a type."""
        from xclaim.payloads.codecs.models import Model

        typed = type(self).__new__(type(self))
        typed.__dict__.update(self.__dict__, type=Model(type_))
        return typed

    def prepare(self, values: Sequence[Any], queue: str, *, keyed: bool = False) -> list[Prepared]:
        """Return the payloads as their rows will have them; large ones are in the storage then.

        ``keyed``: they are to be compared with what stands under their unique keys. Raise
        PayloadError or StorageError; then nothing is left in the storage.
        """
        prepared = prepared_plain(self, values)
        if prepared is not None:
            return prepared
        encoding = Encoding(self, queue, keyed=keyed)
        done: list[Prepared] = []
        try:
            for index, value in enumerate(values):
                done.append(encoding.prepared(value, plain_json.name_of(index)))
        except BaseException as error:
            self.discard(done, error)
            raise
        return done

    def plain_batch(self, values: Sequence[Any]) -> plain_json.PlainBatch | None:
        """Return the payloads for one statement; None unless all are small and plain JSON."""
        return plain_batch(self, values)

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
        value = stored if codec is None else decoded(self, Envelope.of(stored, codec))
        return value if self.type is None else self.type.from_json(value)

    def open(self, stored: Any, codec: str | None) -> BinaryIO:
        """Return the encoded payload as a file, which is read and checked in pieces.

        The bytes are what the codec made of the payload, without compression and encryption. The
        end is handed out only after size and digest were found right.
        """
        if codec is None:
            return io.BytesIO(plain_json.encode(stored).text.encode())
        return opened(self, Envelope.of(stored, codec))

    def is_same(self, prepared: Prepared, stored: Any, codec: str | None) -> bool:
        """Return whether a payload is what stands stored already, however that is encoded."""
        if codec is None:
            return prepared.digest == plain_json.digest(stored)
        return is_same(self, prepared, Envelope.of(stored, codec))

    def encrypt_again(self, stored: Any, codec: str, queue: str) -> Prepared:
        """Return an encrypted payload encrypted with the first key, in a new object if it has one.

        Raise PayloadReadError or StorageError as ``read`` does; the old object stays as it is.
        """
        envelope = Envelope.of(stored, codec)
        keys = required_keys(self, envelope)
        digest = content_digest(self, envelope) if envelope.fingerprint is not None else None
        with Recoder(self, keys, queue, envelope) as recoder:
            with keys.decrypting(raw(self, envelope), envelope.key) as file:
                recoder.copy(file)
            return recoder.finish(digest)

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
    from xclaim.payloads.stores.storage import Storage

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
    from xclaim.payloads.stores.storage import Storage

    if isinstance(storage, Storage):
        return storage
    if isinstance(storage, str):
        return Storage(storage)
    raise InvalidArgumentError(f"storage must be a URL or a Storage, not {type(storage).__name__}")


def _codecs(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    if codecs:
        from xclaim.payloads.codecs.registry import check_codec

        for codec in codecs:
            check_codec(codec)
    return tuple(codecs)


def _keys(keys: Keys | str | Sequence[str] | None) -> Keys | None:
    if keys is None:
        return None
    from xclaim.payloads.layers.encryption import Keys

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
