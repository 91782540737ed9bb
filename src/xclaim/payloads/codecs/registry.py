"""What makes bytes of a payload, and a payload of bytes, each under the name in the row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Protocol, runtime_checkable

from xclaim.errors import InvalidArgumentError, UnknownCodecError
from xclaim.payloads.codecs.arrow import Arrow, Parquet
from xclaim.payloads.codecs.binary import Binary
from xclaim.payloads.codecs.typed_json import TypedJson

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_MAX_NAME = 40
_MAX_SHOWN = 60
# Names of what else stands in a row's `codec`: plain JSON, and the stages after a codec.
_RESERVED = ("json", "zstd", "fernet")


@runtime_checkable
class Codec(Protocol):
    """Encodes values of some types. ``name`` stands in rows: it never changes its meaning.

    ``accepts`` is asked of every payload, and so it is cheap and imports nothing. ``encode`` gets
    a file that has ``write`` and ``flush`` alone, and may write in pieces; it raises PayloadError
    for what would not come back as it is. ``decode`` gets a file that can be read and searched,
    whose digest was right; it raises PayloadCorruptedError for what ``encode`` never writes. It
    must not run what the content says: no pickle, no imports by name.
    """

    name: str

    def accepts(self, value: Any) -> bool:
        """Return whether this codec is the one for the value."""
        ...

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the value to the file."""
        ...

    def decode(self, file: BinaryIO) -> Any:
        """Return the value that was written to the file."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A codec whose values may take far more than what they are stored in."""

    def within(self, max_size: int) -> Codec:
        """Return the codec that raises PayloadRefusedError for what takes more bytes than this."""
        ...


_BUILT_IN: tuple[Codec, ...] = (Arrow(), Binary(), TypedJson())
_CHOSEN: tuple[Codec, ...] = (Parquet(),)  # read by all, written by those who choose it
_registered: dict[str, Codec] = {}


def register_codec(codec: Codec) -> None:
    """Let every queue of this process use the codec, to write and to read.

    Raise InvalidArgumentError for a name that is malformed or taken. A codec for one queue alone
    needs no registration: ``Payloads(codecs=[...])``.
    """
    check_codec(codec)
    if codec.name in _registered or any(codec.name == one.name for one in (*_BUILT_IN, *_CHOSEN)):
        raise InvalidArgumentError(
            f"the codec name {codec.name!r} is taken: choose another, with your project's name in "
            "it for example"
        )
    _registered[codec.name] = codec


def check_codec(codec: Any) -> None:
    """Raise InvalidArgumentError unless it is a codec, and its name may stand in rows."""
    if isinstance(codec, type) or not isinstance(codec, Codec):
        raise InvalidArgumentError(
            f"{codec!r:.100} is no codec: it needs a name, accepts(), encode() and decode(), and "
            "is an instance"
        )
    name: Any = codec.name
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise InvalidArgumentError(
            f"the codec name {name!r:.100} is malformed: use a-z, 0-9 and '-' between them, "
            f"at most {_MAX_NAME} characters"
        )
    if name in _RESERVED:
        raise InvalidArgumentError(f"the codec name {name!r} is reserved: choose another")


def codec_for(value: Any, own: Sequence[Codec] = ()) -> Codec | None:
    """Return the codec for the value, or None if nobody accepts it.

    Asked are ``own``, then the registered ones, then Arrow, bytes and JSON with tags.
    """
    return next((codec for codec in _in_order(own) if codec.accepts(value)), None)


def codec_named(name: str, own: Sequence[Codec] = ()) -> Codec:
    """Return the codec of this name. Raise UnknownCodecError if there is none in this process."""
    for codec in _in_order(own):
        if codec.name == name:
            return codec
    raise UnknownCodecError(
        f"the payload was encoded by the codec {name[:_MAX_SHOWN]!r}, which is not known here: "
        "use Payloads(codecs=[...]) or register_codec() where it is read, as where it was pushed"
    )


def _in_order(own: Sequence[Codec]) -> Iterator[Codec]:
    """Yield each name's first codec: one's own TypedJson(allowed) stands for the built-in one."""
    seen: set[str] = set()
    for codec in (*own, *_registered.values(), *_BUILT_IN, *_CHOSEN):
        if codec.name not in seen:
            seen.add(codec.name)
            yield codec
