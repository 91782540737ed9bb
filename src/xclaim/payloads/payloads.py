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
from functools import lru_cache, partial
from typing import Any, BinaryIO

from xclaim.errors import InvalidArgumentError, StorageError
from xclaim.payloads import plain_json
from xclaim.payloads.envelope import Envelope, Prepared
from xclaim.payloads.options import THRESHOLD, Options, threshold_of
from xclaim.payloads.reading import decoded, opened
from xclaim.payloads.writing import Elsewhere, Encoding, encrypted_again, here


class Payloads(Options):
    """How a queue stores and reads payloads; one may serve many queues, threads and processes.

    ``storage`` is where payloads of more than ``threshold`` bytes go: a URL (``s3://bucket/path``,
    ``gs://``, ``abfs://``, ``file:///path``) or a Storage; None keeps all in the row.
    ``max_size`` bounds what ``payload`` reads into memory, ``open()`` has no limit. ``codecs`` are
    asked before xclaim's own. ``allow`` names the dataclasses and enumerations that may be read:
    classes, or patterns such as ``"shop.orders.*"``. ``compression="zstd"`` is for what is larger
    than the threshold. ``keys`` encrypt every payload: Fernet keys, the first encrypts, all
    decrypt. Raise InvalidArgumentError for what cannot be used; nothing is connected yet.
    """

    @classmethod
    def from_environment(cls) -> Payloads | None:
        """Return what XCLAIM_STORAGE and XCLAIM_FERNET_KEYS say; None if neither is set."""
        location, keys = os.environ.get("XCLAIM_STORAGE"), os.environ.get("XCLAIM_FERNET_KEYS")
        if not location and not keys:  # what every push of a verb asks
            return None
        names = ("XCLAIM_STORAGE_THRESHOLD", "XCLAIM_STORAGE_OPTIONS")
        others = (os.environ.get(name) or None for name in names)
        return _from_environment(location or None, keys or None, *others)

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
        keyed: bool = False,
        elsewhere: Elsewhere = here,
    ) -> list[Prepared]:
        """Return the payloads as their rows will have them; large ones are in the storage then.

        ``keyed``: they are to be compared with what stands under their unique keys. ``elsewhere``
        is handed the work that may take long, for a storage or a codec, and does it. Raise
        PayloadError or StorageError; then nothing is left in the storage.
        """
        prepared = Encoding(self, queue, keyed=keyed, elsewhere=elsewhere).prepared
        done: list[Prepared] = []
        try:
            for index, value in enumerate(values):
                done.append(prepared(value, index))
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

    def encrypt_again(self, stored: Any, codec: str, queue: str) -> Prepared:
        """Return an encrypted payload encrypted with the first key, in a new object if it has one.

        Raise PayloadReadError or StorageError as ``read`` does; the old object stays as it is.
        """
        return encrypted_again(self, queue, Envelope.of(stored, codec))


@lru_cache(maxsize=8)
def _from_environment(
    location: str | None, keys: str | None, threshold: str | None, options: str | None
) -> Payloads:
    size = threshold_of("XCLAIM_STORAGE_THRESHOLD", THRESHOLD if threshold is None else threshold)
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
