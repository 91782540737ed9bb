"""From a payload to what its row has of it: encoded, and stored elsewhere where it is large."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from xclaim.errors import PayloadError
from xclaim.payloads import plain_json
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.envelope import FERNET, JSON, TYPED_JSON, ZSTD, Envelope, Prepared
from xclaim.payloads.reading import content_digest, raw, required_keys

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from xclaim.payloads.codecs.registry import Codec
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.options import Options
    from xclaim.payloads.stores.references import Reference
    from xclaim.payloads.stores.storage import ObjectWriter, Storage

T = TypeVar("T")

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a payload goes as an object: to which storage, and below which folders of it.

    Up to ``threshold`` bytes it stays in the row; None: it always becomes an object.
    """

    storage: Storage
    folders: tuple[str, ...]
    threshold: int | None

    @classmethod
    def of_queue(cls, queue: str, options: Options) -> Destination | None:
        """Return where the payloads of a queue go; None if they all stay in their rows."""
        if options.storage is None:
            return None
        return cls(options.storage, (queue,), options.threshold)

    def is_for(self, size: int) -> bool:
        """Return whether a payload of so many bytes becomes an object."""
        return self.threshold is None or size > self.threshold

    def create(self) -> ObjectWriter:
        """Begin an object. Raise StorageError."""
        return self.storage.create(*self.folders)


class Elsewhere(Protocol):
    """Does work that may take long: at once, or in a thread while an event loop goes on."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """Return what the work returns."""


def here(work: Callable[[], T]) -> T:
    """Do the work at once, where the caller is."""
    return work()


class Encoding:
    """The payloads of one push to a queue. ``keyed``: they will be compared with stored ones.

    What a storage or a codec takes part in is done ``elsewhere``.
    """

    def __init__(
        self, options: Options, queue: str, *, keyed: bool, elsewhere: Elsewhere = here
    ) -> None:
        self._options = options
        self._destination = Destination.of_queue(queue, options)
        self._limit = options.threshold if options.may_move else sys.maxsize
        self._keyed = keyed
        self._elsewhere = elsewhere

    def prepared(self, value: Any, index: int) -> Prepared:
        """Return the payload, the one at ``index``. Raise PayloadError or StorageError.

        A value that is encoded already, as lines of ``xclaim push`` are, is taken as it is.
        """
        options = self._options
        if isinstance(value, plain_json.Encoded):
            return self._plain(value)
        if options.type is not None:
            value = _at(plain_json.name_of(index), options.type.to_json, value)
        elif options.codecs:
            own = next((codec for codec in options.codecs if codec.accepts(value)), None)
            if own is not None:
                return self._encoded(own, value, plain_json.name_of(index))
        encoded = plain_json.encode_at_once(value)
        if encoded is None:
            place = plain_json.name_of(index)
            try:
                encoded = plain_json.encode_closely(value, place)
            except PayloadError as error:
                return self._encoded(self._codec_for(value, error), value, place)
        return self._plain(encoded)

    def _plain(self, encoded: plain_json.Encoded) -> Prepared:
        if self._options.keys is None and not self._is_large(encoded.text):
            return Prepared(text=encoded.text, stored=encoded.value)
        return self._elsewhere(partial(self._json, JSON, encoded))

    def _is_large(self, text: str) -> bool:
        # A character takes four bytes at most.
        return len(text) * 4 > self._limit and len(text.encode()) > self._limit

    def _encoded(self, codec: Codec, value: Any, place: str) -> Prepared:
        return self._elsewhere(partial(self._by_codec, codec, value, place))

    def _by_codec(self, codec: Codec, value: Any, place: str) -> Prepared:
        if isinstance(codec, TypedJson):
            tagged = plain_json.encode(_at(place, codec.to_json, value), place)
            return self._json(codec.name, tagged)
        with self._sink(codec.name) as sink:
            _at(place, codec.encode, value, sink)
            return sink.finish()

    def _json(self, codec: str, encoded: plain_json.Encoded) -> Prepared:
        digest = plain_json.digest(encoded.value) if self._keyed else None
        with self._sink(codec) as sink:
            sink.write(encoded.text.encode())
            return sink.finish(digest)

    def _sink(self, codec: str) -> Sink:
        return Sink(self._options, self._destination, codec, keyed=self._keyed)

    def _codec_for(self, value: Any, error: PayloadError) -> Codec:
        from xclaim.payloads.codecs.registry import codec_for

        codec = codec_for(value, (TypedJson(self._options.allow),))
        if codec is None:
            raise error
        return codec


class Sink(io.RawIOBase):
    """What a codec writes to: the row, until it is more than the threshold, then an object.

    Leaving the block without ``finish`` removes what was written.
    """

    def __init__(
        self,
        options: Options,
        destination: Destination | None,
        codec: str,
        *,
        keyed: bool = False,
    ) -> None:
        super().__init__()
        self._options = options
        self._destination = destination
        self._codec = codec
        self._keyed = keyed
        self._held = bytearray()
        self._digest = hashlib.sha256()
        self._object: ObjectWriter | None = None
        self._layers: _Layers | None = None

    def writable(self) -> bool:
        """Return True: it is for writing only."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take a part of the encoded payload."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self._begin_object_if(len(self._held) + len(view))
        if self._layers is None:
            self._held += view
        else:
            self._layers.write(view)
        return len(view)

    def finish(self, content_digest: bytes | None = None) -> Prepared:
        """Return the payload as its row will have it.

        ``content_digest``: by which it is compared with another one, if not by the bytes written.
        """
        self._begin_object_if(len(self._held))  # of nothing, where everything becomes an object
        stored = self._in_the_row() if self._object is None else self._in_the_storage(self._object)
        suffixes = "" if self._layers is None else self._layers.suffixes
        written, keys = self._digest.digest(), self._options.keys
        digest = content_digest or written
        if keys is not None:
            stored["key"] = keys.primary_id
            if self._keyed:
                stored["fingerprint"] = keys.fingerprint(digest, keys.primary_id)
        elif self._keyed and "json" not in stored and (suffixes or digest != written):
            stored["fingerprint"] = digest.hex()
        return _prepared(stored, self._codec + suffixes, content_sha256=digest, keys=keys)

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the object unless the payload was finished."""
        if self._object is not None:
            self._object.discard()

    def _begin_object_if(self, size: int) -> None:
        destination = self._destination
        if self._object is not None or destination is None or not destination.is_for(size):
            return
        self._object = destination.create()
        compresses = self._options.compression is not None
        self._layers = _Layers(self._object, self._options.keys, compresses=compresses)
        self._layers.write(self._held)
        self._held = bytearray()

    def _in_the_storage(self, writer: ObjectWriter) -> dict[str, Any]:
        if self._layers is not None:
            self._layers.close()
        return _of_object(writer.commit())

    def _in_the_row(self) -> dict[str, Any]:
        is_large = len(self._held) > self._options.threshold  # there is no storage then
        compresses = is_large and self._options.compression is not None
        if self._options.keys is None and not compresses:
            if self._codec == TYPED_JSON:
                return {"json": plain_json.decode(bytes(self._held))}
            return _in_base64(self._held)
        row = io.BytesIO()
        self._layers = _Layers(row, self._options.keys, compresses=compresses)
        self._layers.write(self._held)
        self._layers.close()
        return _in_base64(row.getvalue())


class _Layers:
    """What the bytes of a payload pass on their way to the row or the object; it closes neither."""

    def __init__(self, target: Any, keys: Keys | None, *, compresses: bool) -> None:
        self._top = target
        self._open: list[Any] = []
        self.suffixes = f"+{ZSTD}" if compresses else ""
        if keys is not None:
            self._add(keys.encrypting(target))
            self.suffixes += f"+{FERNET}"
        if compresses:
            from xclaim.payloads.layers.compression import compressing

            self._add(compressing(self._top))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a part of the payload."""
        self._top.write(data)

    def close(self) -> None:
        """Write the end of each layer."""
        for layer in reversed(self._open):
            layer.close()

    def _add(self, layer: Any) -> None:
        self._open.append(layer)
        self._top = layer


def encrypted_again(options: Options, queue: str, envelope: Envelope) -> Prepared:
    """Return an encrypted payload encrypted with the first key, in a new object if it has one.

    Raise PayloadReadError or StorageError; the old object stays as it is.
    """
    keys = required_keys(options, envelope)
    digest = content_digest(options, envelope) if envelope.fingerprint is not None else None
    stored = {"key": keys.primary_id}
    if digest is not None:
        stored["fingerprint"] = keys.fingerprint(digest, keys.primary_id)
    row = io.BytesIO()
    with ExitStack() as unless_committed:
        target: Any = row
        if envelope.reference is not None:
            target = unless_committed.enter_context(options.require_storage().create(queue))
        layers = _Layers(target, keys, compresses=False)
        with keys.decrypting(raw(options, envelope), envelope.key) as file:
            shutil.copyfileobj(file, cast("Any", layers), _CHUNK)
        layers.close()
        written = _in_base64(row.getvalue()) if target is row else _of_object(target.commit())
    return _prepared(stored | written, envelope.codec, content_sha256=digest, keys=keys)


def _prepared(
    stored: dict[str, Any], codec: str, *, content_sha256: bytes | None, keys: Keys | None
) -> Prepared:
    encoded = plain_json.encode(stored)
    return Prepared(
        text=encoded.text,
        stored=encoded.value,
        codec=codec,
        uri=stored.get("uri"),
        content_sha256=content_sha256,
        keys=keys,
    )


def _of_object(reference: Reference) -> dict[str, Any]:
    return {"uri": reference.uri, "size": reference.size, "sha256": reference.sha256}


def _in_base64(data: bytes | bytearray) -> dict[str, Any]:
    return {"data": base64.b64encode(data).decode()}


def _at(place: str, encode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return encode(*arguments)
    except PayloadError as error:
        if place == "payload" or str(error).startswith(place):
            raise
        raise PayloadError(f"{place}: {error}") from error
