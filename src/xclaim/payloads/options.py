"""What the user said of the payloads of a queue, checked: where they go, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from xclaim.errors import InvalidArgumentError
from xclaim.payloads.envelope import ZSTD

if TYPE_CHECKING:
    from xclaim.payloads.codecs.registry import Codec
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.stores.storage import Storage

THRESHOLD = 64 * 1024  # bytes: beyond, PostgreSQL keeps a value in hundreds of pieces
MAX_SIZE = 1024**3  # bytes that reading a payload as a whole may take
MAX_IN_ROW = 16 * 1024**2  # bytes of JSON in a row: each claim brings them all, wanted or not


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


class Options:
    """The options of ``Payloads``. Raise InvalidArgumentError for what cannot be used."""

    def __init__(
        self,
        *,
        storage: Storage | str | None = None,
        threshold: int = THRESHOLD,
        max_size: int = MAX_SIZE,
        max_in_row: int = MAX_IN_ROW,
        codecs: Sequence[Codec] = (),
        allow: Sequence[type | str] = (),
        compression: str | None = None,
        keys: Keys | str | Sequence[str] | None = None,
        allow_unencrypted: bool = False,
        after_ack: str = AfterAck.KEEP,
    ) -> None:
        self.storage = _storage(storage)
        self.threshold = _bytes("threshold", threshold, least=0)
        self.max_size = _bytes("max_size", max_size, least=1)
        self.max_in_row = _bytes("max_in_row", max_in_row, least=1)
        self.codecs = _codecs(codecs)
        self.allow = _allow(allow)
        self.compression = _compression(compression)
        self.keys = _keys(keys)
        self.allow_unencrypted = _switch("allow_unencrypted", allow_unencrypted)
        self.after_ack = _after_ack(after_ack)
        self.type: Typed | None = None

    @property
    def requires_encryption(self) -> bool:
        """Whether a payload that is not encrypted is refused."""
        return self.keys is not None and not self.allow_unencrypted

    @property
    def reads_plain_json(self) -> bool:
        """Whether plain JSON is made into values of a type, or refused as it is not encrypted."""
        return self.type is not None or self.requires_encryption

    @property
    def may_move(self) -> bool:
        """Whether a payload above the threshold does not stand in its row as it is."""
        return self.storage is not None or self.compression is not None

    def require_storage(self) -> Storage:
        """Return the storage. Raise InvalidArgumentError if there is none."""
        if self.storage is None:
            raise InvalidArgumentError(
                "no payload storage: set XCLAIM_STORAGE, or pass Payloads(storage=...)"
            )
        return self.storage

    def __deepcopy__(self, memo: dict[int, Any]) -> Options:
        """Return the same: nothing of it ever changes, and a storage has connections."""
        return self

    def __repr__(self) -> str:
        """Return the settings that differ from the defaults, without any secret."""
        shown = [
            None if self.storage is None else f"storage={self.storage.url!r}",
            None if self.keys is None else "keys=...",
            "allow_unencrypted=True" if self.allow_unencrypted else None,
            None if self.compression is None else f"compression={self.compression!r}",
            None if self.after_ack is AfterAck.KEEP else f"after_ack={self.after_ack.value!r}",
        ]
        return f"{type(self).__name__}({', '.join(filter(None, shown))})"


def bytes_of(option: str, configured: Any, *, least: int = 0) -> int:
    """Return a number of bytes that may be text. Raise InvalidArgumentError naming the option."""
    try:
        size = int(configured)
    except (TypeError, ValueError):
        size = -1
    if size < least:
        raise InvalidArgumentError(
            f"{option} must be a number of bytes, {least} or more, not {configured!r}"
        )
    return size


def switch_of(option: str, configured: Any) -> bool:
    """Return what a switch says that may be text. Raise InvalidArgumentError naming the option."""
    said = str(configured).strip().lower()
    if said not in ("", "0", "1", "false", "true"):
        raise InvalidArgumentError(f"{option} must be true or false, not {configured!r}")
    return said in ("1", "true")


def _storage(storage: Storage | str | None) -> Storage | None:
    if storage is None:
        return None
    from xclaim.payloads.stores.storage import Storage

    if isinstance(storage, Storage):
        return storage
    if isinstance(storage, str):
        return Storage(storage)
    raise InvalidArgumentError(f"storage must be a URL or a Storage, not {type(storage).__name__}")


def _allow(allow: Sequence[type | str]) -> tuple[type | str, ...]:
    if allow == ():
        return ()
    from xclaim.payloads.codecs.allowed_types import Allowed

    return Allowed(allow).given  # refused now: to read a message is too late for it


def _codecs(codecs: Any) -> tuple[Codec, ...]:
    if isinstance(codecs, str) or not isinstance(codecs, Iterable):
        raise InvalidArgumentError(
            f"codecs must be a list of codecs, not {type(codecs).__name__}: pass [codec]"
        )
    listed = tuple(codecs)
    if listed:
        from xclaim.payloads.codecs.registry import check_codec

        for codec in listed:
            check_codec(codec)
    return listed


def _keys(keys: Keys | str | Sequence[str] | None) -> Keys | None:
    if keys is None:
        return None
    from xclaim.payloads.layers.encryption import Keys

    return keys if isinstance(keys, Keys) else Keys(keys)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):  # "false" would be taken for true
        raise InvalidArgumentError(f"{name} must be True or False, not {value!r}")
    return value


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
