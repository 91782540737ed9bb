"""From what a row has of a payload to the payload: fetched, checked, decrypted, decoded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xclaim.errors import (
    EncryptionKeyError,
    PayloadCorruptedError,
    PayloadGoneError,
    PayloadReadError,
    PayloadRefusedError,
)
from xclaim.payloads import plain_json
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.envelope import FERNET, JSON, TYPED_JSON, Envelope, suffixes

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.options import Options
    from xclaim.payloads.stores.storage import Storage

_CHUNK = 1024 * 1024


def decoded(options: Options, envelope: Envelope) -> Any:
    """Return the payload. Raise PayloadReadError or StorageError."""
    if envelope.is_gone:
        raise _gone(envelope)
    base = envelope.codec.partition("+")[0]
    decode = _decoder(options, base)
    if envelope.is_json:
        return TypedJson(options.allow).from_json(envelope.json)
    content = _content(options, envelope)
    try:
        return decode(content)
    except (PayloadReadError, MemoryError):
        raise
    except Exception as error:
        raise PayloadCorruptedError(
            f"the payload cannot be decoded by its codec {base!r} ({type(error).__name__}: "
            f"{error}): it was pushed by another version, or is none of its making"
        ) from error


def opened(options: Options, envelope: Envelope) -> BinaryIO:
    """Return what the codec made of the payload, as a file that is checked as it is read."""
    if envelope.is_json:
        return io.BytesIO(plain_json.encode(envelope.json).text.encode())
    file = raw(options, envelope)
    for suffix in reversed(suffixes(envelope.codec)):
        if suffix == FERNET:
            file = required_keys(options, envelope).decrypting(file, envelope.key)
        else:
            file = _Decompressed(file)
    return file


class _Decompressed(io.BufferedReader):
    """What a compressed file holds. Closing it closes that one, which a storage has lent."""

    def __init__(self, file: BinaryIO) -> None:
        from xclaim.payloads.layers.compression import decompressing

        super().__init__(cast("Any", decompressing(file)), _CHUNK)
        self._file = file

    def close(self) -> None:
        """Close both."""
        super().close()
        self._file.close()


def raw(options: Options, envelope: Envelope) -> BinaryIO:
    """Return the payload as it is stored, compressed and encrypted. Raise PayloadGoneError."""
    if envelope.is_gone:
        raise _gone(envelope)
    if envelope.reference is not None:
        return _storage(options, envelope.reference.uri).open(envelope.reference)
    return io.BytesIO(envelope.data or b"")


def content_digest(options: Options, envelope: Envelope) -> bytes:
    """Return the digest by which the payload is compared with another, of all it is made of."""
    with opened(options, envelope) as file:
        if envelope.codec.partition("+")[0] in (JSON, TYPED_JSON):
            return plain_json.digest(_decode_json(file))
        return hashlib.file_digest(cast("Any", file), "sha256").digest()


def required_keys(options: Options, envelope: Envelope) -> Keys:
    """Return the keys. Raise EncryptionKeyError if there are none."""
    if options.keys is None:
        raise EncryptionKeyError(
            f"the payload is encrypted with the key {envelope.key}, and there are no keys here: "
            "set XCLAIM_FERNET_KEYS, or pass Payloads(keys=...) to the queue"
        )
    return options.keys


def _decoder(options: Options, base: str) -> Callable[[BinaryIO], Any]:
    if base == TYPED_JSON:
        return TypedJson(options.allow).decode
    if base == JSON:
        return _decode_json
    from xclaim.payloads.codecs.registry import codec_named

    return codec_named(base, options.codecs).decode


def _content(options: Options, envelope: Envelope) -> BinaryIO:
    reference, limit = envelope.reference, options.max_size
    if reference is not None and reference.size > limit:
        raise _too_large(f"{reference.size} bytes", limit)
    if reference is not None and not suffixes(envelope.codec):
        return io.BytesIO(_storage(options, reference.uri).read(reference, limit))
    content = io.BytesIO()
    with opened(options, envelope) as file:
        while piece := file.read(_CHUNK):
            content.write(piece)
            if content.tell() > limit:
                raise _too_large(f"more than {limit} bytes", limit)
    content.seek(0)
    return content


def _storage(options: Options, uri: str) -> Storage:
    if options.storage is None:
        raise PayloadRefusedError(
            f"the payload is stored as {uri}, and no storage is configured here: set "
            "XCLAIM_STORAGE, or pass Payloads(storage=...) to the queue"
        )
    return options.storage


def _gone(envelope: Envelope) -> PayloadGoneError:
    left = "dropped" if envelope.is_dropped else "reduced to its digest"
    return PayloadGoneError(
        f"the payload was {left} when its message was consumed, as Payloads(after_ack=...) says"
    )


def _too_large(size: str, limit: int) -> PayloadRefusedError:
    return PayloadRefusedError(
        f"the payload has {size}, more than the {limit} that are read into memory: stream it with "
        "claim.open(), or raise Payloads(max_size=...)"
    )


def _decode_json(file: BinaryIO) -> Any:
    return plain_json.decode(file.read())
