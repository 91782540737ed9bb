"""Payloads: how the payloads of a queue are stored, and how they are read again.

A payload that is plain JSON and small stands in the row as it is. Any other is encoded by a codec;
above the threshold it becomes an object of the storage, compressed and encrypted if so set, else it
stands encoded in the row. ``xclaim.payloads.envelope`` says what the row has of it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from types import MappingProxyType
from typing import Any, BinaryIO

from xclaim.errors import PayloadRefusedError, StorageError
from xclaim.payloads import plain_json
from xclaim.payloads.envelope import Owner, Prepared
from xclaim.payloads.options import Options, bytes_of, switch_of
from xclaim.payloads.reading import checked, decoded, opened
from xclaim.payloads.writing import Elsewhere, Encoding, encrypted_again, here

_VARIABLES = (
    "XCLAIM_STORAGE",
    "XCLAIM_STORAGE_OPTIONS",
    "XCLAIM_STORAGE_THRESHOLD",
    "XCLAIM_MAX_IN_ROW",
    "XCLAIM_FERNET_KEYS",
    "XCLAIM_ALLOW_UNENCRYPTED",
)
_AT_ONCE = 100  # payloads: more are not quicker, and each is several times in memory meanwhile
_ALONE = ("XCLAIM_STORAGE", "XCLAIM_FERNET_KEYS", "XCLAIM_MAX_IN_ROW")  # others say how of these


class Payloads(Options):
    """How a queue stores and reads payloads; one may serve many queues, threads and processes.

    ``storage`` is where payloads of more than ``threshold`` bytes go: a URL (``s3://bucket/path``,
    ``gs://``, ``abfs://``, ``file:///path``) or a Storage; None keeps all in the row. ``max_size``
    bounds what ``payload`` reads into memory, ``open()`` has no limit. ``codecs`` are asked before
    xclaim's own. ``allow`` names the dataclasses and enumerations that may be read: classes, or
    patterns such as ``"shop.orders.*"``. ``compression="zstd"`` is for what is larger than the
    threshold. ``keys`` encrypt every payload: Fernet keys, the first encrypts, all decrypt; what is
    not encrypted is then refused, unless ``allow_unencrypted`` says that the queue is being moved
    to encryption. ``max_in_row`` is how many bytes of JSON a row may have. Raise
    InvalidArgumentError for what cannot be used; nothing is connected yet.
    """

    @classmethod
    def from_environment(cls) -> Payloads | None:
        """Return what XCLAIM_STORAGE, XCLAIM_FERNET_KEYS and XCLAIM_MAX_IN_ROW say; None if not."""
        # What every push of a verb asks.
        if not any(map(os.environ.get, _ALONE)):
            return None
        return _from_environment(_environment())

    @classmethod
    def by_default(cls) -> Payloads:
        """Return what the environment says; without that all payloads stay in their rows."""
        return cls.from_environment() or cls()

    def typed(self, type_: Any) -> Payloads:
        """Return the same for a queue whose payloads are of a type."""
        from xclaim.payloads.codecs.models import Model

        typed = type(self).__new__(type(self))
        typed.__dict__.update(self.__dict__, type=Model(type_))
        return typed

    def prepare(
        self,
        values: Sequence[Any],
        queue: str,
        *,
        unique_keys: Sequence[str | None] = (),
        elsewhere: Elsewhere = here,
    ) -> list[Prepared]:
        """Return the payloads as their rows will have them; large ones are in the storage then.

        Under its unique key a payload is compared with what stands there already. ``elsewhere``
        is handed the work that may take long, for a storage or a codec, and does it. Raise
        PayloadError or StorageError; then nothing is left in the storage.
        """
        encoding = Encoding(self, queue, unique_keys, elsewhere=elsewhere)
        done: list[Prepared] = []
        try:
            rest = iter(values)
            while part := list(islice(rest, _AT_ONCE)):
                # Also of a part that fails, for what is stored to be removed.
                done.extend(encoding.prepared_at_once(part, len(done)))
        except BaseException as error:
            if any(each.uri for each in done):
                elsewhere(partial(self.discard, done, error))
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

    def read(
        self, stored: Any, codec: str | None, *, queue: str, unique_key: str | None = None
    ) -> Any:
        """Return the payload of a message that was pushed to the queue, under the unique key.

        Raise PayloadReadError or StorageError.
        """
        owner = Owner((queue,), unique_key)
        envelope = checked(self, stored, codec, owner)
        value = stored if envelope is None else decoded(self, envelope, owner)
        return value if self.type is None else self.type.from_json(value)

    def open(
        self, stored: Any, codec: str | None, *, queue: str, unique_key: str | None = None
    ) -> BinaryIO:
        """Return the encoded payload as a file, which is read and checked in pieces.

        The bytes are what the codec made of the payload, without compression and encryption. The
        end is handed out only after size and digest were found right.
        """
        owner = Owner((queue,), unique_key)
        envelope = checked(self, stored, codec, owner)
        if envelope is None:
            return io.BytesIO(plain_json.encode_tagged(stored).text.encode())
        return opened(self, envelope, owner)

    def encrypt_again(
        self, stored: Any, codec: str, *, queue: str, unique_key: str | None
    ) -> Prepared:
        """Return an encrypted payload encrypted with the first key, in a new object if it has one.

        Raise PayloadReadError or StorageError as ``read`` does; the old object stays as it is.
        """
        owner = Owner((queue,), unique_key)
        envelope = checked(self, stored, codec, owner)
        if envelope is None:
            raise PayloadRefusedError("the payload is plain JSON: there is nothing to encrypt anew")
        return encrypted_again(self, owner, envelope)


def options_of_environment() -> Mapping[str, Any]:
    """Return the options of ``Payloads`` that the environment gives, and no others.

    Whoever has settings of another place lays them over these, or under them: then no setting
    takes another one away. Raise InvalidArgumentError naming a variable that is wrong.
    """
    return _options(_environment())


def _environment() -> tuple[str, ...]:
    return tuple(os.environ.get(name, "").strip() for name in _VARIABLES)


@lru_cache(maxsize=8)
def _from_environment(texts: tuple[str, ...]) -> Payloads:
    return Payloads(**_options(texts))


@lru_cache(maxsize=8)
def _options(texts: tuple[str, ...]) -> Mapping[str, Any]:
    location, options, threshold, most, keys, plain = texts
    given: dict[str, Any] = {}
    if location:
        from xclaim.payloads.stores.storage import Storage, parsed_options

        given["storage"] = Storage(location, options=parsed_options(options))
    if threshold:
        given["threshold"] = bytes_of("XCLAIM_STORAGE_THRESHOLD", threshold)
    if most:
        given["max_in_row"] = bytes_of("XCLAIM_MAX_IN_ROW", most, least=1)
    if keys:
        given["keys"] = keys
    if plain:
        given["allow_unencrypted"] = switch_of("XCLAIM_ALLOW_UNENCRYPTED", plain)
    return MappingProxyType(given)
