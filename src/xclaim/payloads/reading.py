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
from xclaim.payloads.envelope import (
    FERNET,
    JSON,
    TYPED_JSON,
    Envelope,
    Owner,
    is_encrypted,
    suffixes,
)

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.options import Options
    from xclaim.payloads.stores.storage import Storage

_CHUNK = 1024 * 1024


def checked(options: Options, stored: Any, codec: str | None, owner: Owner) -> Envelope | None:
    """Return what the row has of a payload that may be read; None for plain JSON.

    Raise PayloadReadError for what is not encrypted where it has to be, and for an object that
    lies in the folder of another queue.
    """
    if codec is None:
        _require_encryption(options, codec)
        return None
    envelope = Envelope.of(stored, codec)
    if not envelope.is_gone:
        _require_encryption(options, codec)
    reference = envelope.reference
    if reference is not None and not _storage(options, reference.uri).is_in(
        reference.uri, *owner.folders
    ):
        raise PayloadRefusedError(
            f"the row names the object {reference.uri!r:.300}, which is not one of xclaim's below "
            f"{_storage(options, reference.uri).url} for its queue {owner.folders[0]!r}: it is not "
            "read; if it lies in an earlier storage, add that to read_from"
        )
    return envelope


def _require_encryption(options: Options, codec: str | None) -> None:
    if options.requires_encryption and not is_encrypted(codec):
        raise PayloadRefusedError(
            "the payload is not encrypted, and there are keys here: whoever pushed it had none; "
            "while a queue is moved to encryption, read both with Payloads(allow_unencrypted=True)"
        )


def decoded(options: Options, envelope: Envelope, owner: Owner) -> Any:
    """Return the payload. Raise PayloadReadError or StorageError."""
    if envelope.is_gone:
        raise _gone(envelope)
    base = envelope.codec.partition("+")[0]
    decode = _decoder(options, base)
    if envelope.is_json:
        return TypedJson(options.allow).from_json(envelope.json)
    content = _content(options, envelope, owner)
    try:
        return decode(content)
    except (PayloadReadError, MemoryError):
        raise
    except Exception as error:
        raise PayloadCorruptedError(
            f"the payload cannot be decoded by its codec {base!r} ({type(error).__name__}: "
            f"{error}): it was pushed by another version, or is none of its making"
        ) from error


def check(options: Options, envelope: Envelope) -> None:
    """Raise PayloadReadError for what is wrong with a payload before it is fetched."""
    _decoder(options, envelope.codec.partition("+")[0])
    if FERNET in suffixes(envelope.codec):
        required_keys(options, envelope)


def opened(options: Options, envelope: Envelope, owner: Owner) -> BinaryIO:
    """Return what the codec made of the payload, as a file that is checked as it is read."""
    if envelope.is_json:
        return io.BytesIO(plain_json.encode_tagged(envelope.json).text.encode())
    file = raw(options, envelope)
    for suffix in reversed(suffixes(envelope.codec)):
        if suffix == FERNET:
            keys, bound_to = required_keys(options, envelope), owner.binding_of(envelope.codec)
            file = keys.decrypting(file, envelope.key, bound_to)
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


def content_digest(options: Options, envelope: Envelope, owner: Owner) -> bytes:
    """Return the digest by which the payload is compared with another, of all it is made of."""
    with opened(options, envelope, owner) as file:
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
    from xclaim.payloads.codecs.registry import Bounded, codec_named

    codec = codec_named(base, options.codecs)
    return (codec.within(options.max_size) if isinstance(codec, Bounded) else codec).decode


def _content(options: Options, envelope: Envelope, owner: Owner) -> BinaryIO:
    reference, limit = envelope.reference, options.max_size
    if reference is not None and reference.size > limit:
        raise _too_large(f"{reference.size} bytes, more than the {limit}")
    if reference is not None and not suffixes(envelope.codec):
        return io.BytesIO(_storage(options, reference.uri).read(reference, limit))
    content = io.BytesIO()
    with opened(options, envelope, owner) as file:
        while piece := file.read(_CHUNK):
            content.write(piece)
            if content.tell() > limit:
                raise _too_large(f"more than the {limit} bytes")
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


def _too_large(size: str) -> PayloadRefusedError:
    return PayloadRefusedError(
        f"the payload has {size} that are read into memory: stream it with claim.open(), or raise "
        "Payloads(max_size=...)"
    )


def _decode_json(file: BinaryIO) -> Any:
    return plain_json.decode(file.read())
