"""Fernet keys, and streams encrypted with them in frames.

A stream is a sequence of frames. A frame is the length of a Fernet token (4 bytes, big-endian) and
the token itself, as the bytes that its base64 stands for. Decrypted it is

    16 bytes   the stream's random id, the same in all of its frames
     8 bytes   the frame's number, from 0, big-endian
     1 byte    1 in the last frame, else 0
    32 bytes   SHA-256 of what the stream is bound to
     the rest  at most 1 MiB of the payload

so that frames which are missing, repeated, in another order or from another stream are noticed, and
a stream that is put where another one belongs. What a payload is bound to says
``xclaim.payloads.envelope``. Fernet: https://github.com/fernet/spec

The id of a key is the first 12 hexadecimal digits of SHA-256 of ``xclaim key id``, a NUL, and its
32 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import importlib.util
import io
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from xclaim.errors import EncryptionKeyError, InvalidArgumentError, PayloadCorruptedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ENVIRONMENT_VARIABLE = "XCLAIM_FERNET_KEYS"

_FRAME = 1024 * 1024
_KEY = 32
_STREAM_ID = 16
_BINDING = 32
_HEAD = _STREAM_ID + 8 + 1 + _BINDING
_MOST_SHOWN = 60
_LONGEST_TOKEN = _FRAME + 128  # what Fernet adds to a frame is less
_WAY_OUT = (
    'make one with python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"'
)


class Keys:
    """Fernet keys: the first encrypts, all decrypt, as with Airflow's ``[core] fernet_key``.

    ``keys`` is a list, or a text with commas in between. To rotate, put a new key in front and
    keep the old ones as long as payloads are encrypted with them.

    A pickle has their ids alone. Where it is loaded, the keys are those of the environment there:
    without them whatever needs a key raises EncryptionKeyError.

    Raise InvalidArgumentError, which shows no key, for a malformed key and without the package
    cryptography.
    """

    def __init__(self, keys: str | Sequence[str]) -> None:
        if not isinstance(keys, Iterable):
            raise InvalidArgumentError(
                f"keys must be text or a list of it, not {type(keys).__name__}: {_WAY_OUT}"
            )
        texts = keys.split(",") if isinstance(keys, str) else list(keys)
        if importlib.util.find_spec("cryptography") is None:
            raise InvalidArgumentError(
                'encryption needs the package cryptography: pip install "xclaim[encryption]"'
            )
        raw = [_parsed(text, number) for number, text in enumerate(texts, start=1)]
        if not raw:
            raise InvalidArgumentError(f"there is no encryption key: {_WAY_OUT}")
        self._keys = {_id_of(key): key for key in raw}
        self._ids: Sequence[str] = tuple(self._keys)

    @classmethod
    def from_environment(cls) -> Keys | None:
        """Return the keys in ``XCLAIM_FERNET_KEYS``, ``None`` if it is not set or empty."""
        keys = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
        return cls(keys) if keys else None

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._ids)}>"

    @property
    def primary_id(self) -> str:
        """Return the public id of the key that encrypts; the key cannot be told from it."""
        return next(iter(self._keys))

    def __contains__(self, key_id: str) -> bool:
        """Return whether the key of this id is here."""
        return key_id in self._keys

    def encrypting(self, file: Writable, bound_to: bytes = b"") -> BinaryIO:
        """Return a file to write to, which encrypts into ``file`` with little memory.

        ``close()`` ends the stream, which cannot be read without its end; ``file`` stays open.
        ``bound_to``: only who says the same can decrypt it.
        """
        key = self._key(self.primary_id)
        return cast(BinaryIO, _Encrypting(file, key, _binding(bound_to)))

    def decrypting(
        self, file: BinaryIO, key_id: str | None = None, bound_to: bytes = b""
    ) -> BinaryIO:
        """Return what was encrypted into ``file``, to read with little memory.

        Closing it closes ``file``.

        ``key_id`` is the id of the key it was encrypted with; without one all keys are tried.
        Raise EncryptionKeyError if that key is not here, and on reading PayloadCorruptedError
        where the stream is cut off, mixed up, changed, or bound to something else.
        """
        keys = self._keys if key_id is None else {key_id: self._key(key_id)}
        decrypting = _Decrypting(file, keys, key_id, _binding(bound_to))
        return io.BufferedReader(decrypting, _FRAME)

    def fingerprint(self, digest: bytes, key_id: str, bound_to: bytes = b"") -> str:
        """Return a digest that only holders of the key can compute, in hexadecimal.

        The plain digest of a small payload would tell it to whoever tries all small payloads; and
        with another ``bound_to`` it is another one. Raise EncryptionKeyError if the key is not
        here.
        """
        said = b"xclaim fingerprint\0" + _binding(bound_to) + digest
        return hmac.digest(self._key(key_id), said, "sha256").hex()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make them again, in a process that has the keys itself."""
        return _KeysOfTheEnvironment, (tuple(self._ids),)

    def __copy__(self) -> Keys:
        """Return the same: keys never change."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Keys:
        """Return the same: keys never change."""
        return self

    def _key(self, key_id: str) -> bytes:
        if key_id not in self._keys:
            raise _no_key(f"the key {key_id[:_MOST_SHOWN]!r}", self._keys)
        return self._keys[key_id]


class _KeysOfTheEnvironment(Keys):
    """Keys that were pickled: at their first use, those of this process's environment."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids

    @cached_property
    def _keys(self) -> dict[str, bytes]:  # type: ignore[override]
        found = Keys.from_environment()
        if found is None:
            raise EncryptionKeyError(
                f"the encryption keys ({', '.join(self._ids)}) were left out of a pickle, and "
                f"{ENVIRONMENT_VARIABLE} is not set here: set it, or read the message with a queue "
                "that has the keys"
            )
        return found._keys  # noqa: SLF001  (of the same class)


class Writable(Protocol):
    """Something bytes can be written to."""

    def write(self, data: bytes, /) -> Any:
        """Take the bytes, all of them."""


class _Encrypting(io.RawIOBase):
    def __init__(self, file: Writable, key: bytes, binding: bytes) -> None:
        self._file = file
        self._binding = binding
        self._fernet = _fernet(key)
        self._stream_id = os.urandom(_STREAM_ID)
        self._number = 0
        self._waiting = bytearray()

    def __del__(self) -> None:
        """Do not close: a stream that was given up must not get an end."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with memoryview(data) as view, view.cast("B") as piece:
            for start in range(0, len(piece), _FRAME):
                self._waiting += piece[start : start + _FRAME]
                if len(self._waiting) > _FRAME:  # the last frame is known by close()
                    self._write_frame(last=False)
            return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._write_frame(last=True)

    def _write_frame(self, *, last: bool) -> None:
        head = self._stream_id + self._number.to_bytes(8) + bytes([last]) + self._binding
        token = self._fernet.encrypt(head + self._waiting[:_FRAME])
        raw = base64.urlsafe_b64decode(token)  # a quarter smaller
        self._file.write(len(raw).to_bytes(4) + raw)
        del self._waiting[:_FRAME]
        self._number += 1


class _Decrypting(io.RawIOBase):
    def __init__(
        self, file: BinaryIO, keys: dict[str, bytes], key_id: str | None, binding: bytes
    ) -> None:
        self._file = file
        self._binding = binding
        self._keys = keys
        self._key_id = key_id
        self._fernet: Any = None
        self._stream_id = b""
        self._number = 0
        self._ended = False
        self._frame = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._frame:
            self._frame = self._next_frame()
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._frame))
        target[:count] = self._frame[:count]
        self._frame = self._frame[count:]
        return count

    def readall(self) -> bytes:
        pieces = [bytes(self._frame)]
        while piece := self._next_frame():
            pieces.append(bytes(piece))
        self._frame = memoryview(b"")
        return b"".join(pieces)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _next_frame(self) -> memoryview:
        if self._ended:
            return memoryview(b"")
        plain = self._decrypted(self._next_token())
        stream_id, number, last, binding = _parts(plain[:_HEAD])
        if self._number == 0:
            self._stream_id = stream_id
        if stream_id != self._stream_id or number != self._number:
            raise _corrupted("its parts are missing, mixed up or of another payload")
        if binding != self._binding:
            raise _corrupted("it was encrypted for another queue, unique key or codec")
        self._number += 1
        self._ended = last
        if not self._ended and len(plain) == _HEAD:  # an empty piece would pass for the end
            raise _corrupted("it has an empty part")
        if self._ended and self._file.read(1):
            raise _corrupted("something follows its end")
        return memoryview(plain)[_HEAD:]

    def _next_token(self) -> bytes:
        length = int.from_bytes(self._exactly(4))
        if length > _LONGEST_TOKEN:
            raise _corrupted("it is not in frames")
        return base64.urlsafe_b64encode(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        while len(data) < count:
            more = self._file.read(count - len(data))
            if not more:
                raise _corrupted("it is cut off")
            data += more
        return data

    def _decrypted(self, token: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        candidates = [self._fernet] if self._fernet else map(_fernet, self._keys.values())
        for fernet in candidates:
            try:
                plain: bytes = fernet.decrypt(token)
            except InvalidToken:
                continue
            if len(plain) < _HEAD:
                raise _corrupted("it has a frame without a head")
            self._fernet = fernet
            return plain
        if self._fernet is None and self._key_id is None:
            raise _no_key("its key", self._keys)
        raise _corrupted("a part of it was changed")


def _parsed(text: str, number: int) -> bytes:
    try:
        raw = base64.b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
    except (AttributeError, binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != _KEY:
        # Outside of the except clause, so that no cause shows the key.
        raise InvalidArgumentError(
            f"encryption key {number} is not a Fernet key, 32 bytes in URL-safe base64: {_WAY_OUT}"
        )
    return raw


def _parts(head: bytes) -> tuple[bytes, int, bool, bytes]:
    number, last = _STREAM_ID + 8, _STREAM_ID + 9
    return (
        head[:_STREAM_ID],
        int.from_bytes(head[_STREAM_ID:number]),
        head[number] == 1,
        head[last:],
    )


def _binding(bound_to: bytes) -> bytes:
    return hashlib.sha256(bound_to).digest()


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"xclaim key id\0" + key).hexdigest()[:12]


def _fernet(key: bytes) -> Any:
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(key))


def _no_key(which: str, keys: dict[str, bytes]) -> EncryptionKeyError:
    return EncryptionKeyError(
        f"the payload is encrypted, and {which} is not among the keys here "
        f"({', '.join(keys)}): add it to {ENVIRONMENT_VARIABLE}, after the first"
    )


def _corrupted(how: str) -> PayloadCorruptedError:
    return PayloadCorruptedError(f"the encrypted payload is not what was pushed: {how}; restore it")
