"""From a payload to what its row has of it: encoded, and stored elsewhere where it is large."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, Protocol, Self, TypeVar, cast

from xclaim.errors import PayloadError
from xclaim.payloads import plain_json
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.envelope import FERNET, JSON, TYPED_JSON, ZSTD, Envelope, Owner, Prepared
from xclaim.payloads.reading import content_digest, raw, required_keys

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from xclaim.payloads.codecs.registry import Codec
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.options import Options
    from xclaim.payloads.stores.references import Reference
    from xclaim.payloads.stores.storage import ObjectWriter, Storage

T = TypeVar("T")
P = ParamSpec("P")

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
        # What is encoded grows on its way into the row: by a third, and by some bytes.
        threshold = min(options.threshold, options.max_in_row // 2)
        return cls(options.storage, (queue,), threshold)

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
    """The payloads of one push to a queue, under their unique keys if there are any.

    What a storage or a codec takes part in is done ``elsewhere``.
    """

    def __init__(
        self,
        options: Options,
        queue: str,
        unique_keys: Sequence[str | None] = (),
        *,
        elsewhere: Elsewhere = here,
    ) -> None:
        self._options = options
        self._queue = queue
        self._unique_keys = unique_keys
        self._destination = Destination.of_queue(queue, options)
        # Up to here plain JSON stands in its row as it is.
        most = options.threshold if options.may_move else options.max_in_row
        self._limit = min(most, options.max_in_row)
        self._elsewhere = elsewhere

    def prepared(self, value: Any, index: int) -> Prepared:
        """Return the payload, the one at ``index``. Raise PayloadError or StorageError.

        A value that is encoded already, as lines of ``xclaim push`` are, is taken as it is.
        """
        options = self._options
        if isinstance(value, plain_json.Encoded):
            return self._plain(value, index)
        if options.type is not None:
            value = _at(plain_json.name_of(index), options.type.to_json, value)
        elif options.codecs:
            own = next((codec for codec in options.codecs if codec.accepts(value)), None)
            if own is not None:
                return self._encoded(own, value, index)
        encoded = plain_json.encode_at_once(value)
        if encoded is None:
            try:
                encoded = plain_json.encode_closely(value, plain_json.name_of(index))
            except PayloadError as error:
                return self._encoded(self._codec_for(value, error), value, index)
        return self._plain(encoded, index)

    def prepared_at_once(self, values: list[Any], first: int) -> Iterable[Prepared]:
        """Yield several payloads, from ``first`` on, as ``prepared`` returns each; in less time."""
        options = self._options
        is_one = len(values) == 1 or options.type is not None or options.codecs
        both = None if is_one else plain_json.encode_many_at_once(values)
        if both is None:
            return map(self.prepared, values, count(first))
        if options.keys is None and max(map(len, both[0])) * plain_json.MOST_PRINTED <= self._limit:
            return [Prepared(text=text, stored=value) for text, value in zip(*both, strict=True)]
        return map(self._plain, map(plain_json.Encoded, *both), count(first))

    def _plain(self, encoded: plain_json.Encoded, index: int) -> Prepared:
        is_larger = _is_larger(encoded.text, self._limit) or _is_printed_larger(
            encoded.text, self._options.max_in_row
        )
        if self._options.keys is None and not is_larger:
            return Prepared(text=encoded.text, stored=encoded.value)
        if self._options.keys is None and not self._options.may_move:
            raise _too_large_for(plain_json.name_of(index), self._options)
        return self._elsewhere(partial(self._json, JSON, encoded, index))

    def _encoded(self, codec: Codec, value: Any, index: int) -> Prepared:
        return self._elsewhere(partial(self._by_codec, codec, value, index))

    def _by_codec(self, codec: Codec, value: Any, index: int) -> Prepared:
        place = plain_json.name_of(index)
        if isinstance(codec, TypedJson):
            tagged = plain_json.encode_tagged(_at(place, codec.to_json, value), place)
            return self._json(codec.name, tagged, index)
        with self._sink(codec.name, index) as sink:
            _at(place, codec.encode, value, cast("BinaryIO", sink))
            return _at(place, sink.finish)

    def _json(self, codec: str, encoded: plain_json.Encoded, index: int) -> Prepared:
        place = plain_json.name_of(index)
        digest = plain_json.digest(encoded.value) if self._unique_key(index) else None
        with self._sink(codec, index) as sink:
            _at(place, sink.write, encoded.text.encode())
            return _at(place, sink.finish, digest)

    def _sink(self, codec: str, index: int) -> Sink:
        owner = Owner((self._queue,), self._unique_key(index))
        return Sink(self._options, self._destination, codec, owner)

    def _unique_key(self, index: int) -> str | None:
        # The push itself refuses other numbers of keys, and what is no text.
        key: Any = self._unique_keys[index] if index < len(self._unique_keys) else None
        return key if isinstance(key, str) else None

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
        owner: Owner,
    ) -> None:
        super().__init__()
        self._options = options
        self._destination = destination
        self._codec = codec
        self._owner = owner
        self._keyed = owner.unique_key is not None
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
            self._check_size(len(self._held) + len(view))
            self._held += view
        else:
            self._layers.write(view)
        return len(view)

    def finish(self, content_digest: bytes | None = None) -> Prepared:
        """Return the payload as its row will have it.

        ``content_digest``: by which it is compared with another one, if not by the bytes written.
        """
        self._begin_object_if(len(self._held))  # of nothing, where everything becomes an object
        prepared = self._prepared(content_digest)
        if self._is_too_large(prepared) and self._object is None and self._destination is not None:
            self._begin_object(self._destination)
            prepared = self._prepared(content_digest)
        if self._is_too_large(prepared):
            raise _too_large_for("payload", self._options)
        return prepared

    def _prepared(self, content_digest: bytes | None) -> Prepared:
        stored = self._in_the_row() if self._object is None else self._in_the_storage(self._object)
        suffixes = "" if self._layers is None else self._layers.suffixes
        written, keys = self._digest.digest(), self._options.keys
        digest = content_digest or written
        if keys is not None:
            stored["key"] = keys.primary_id
            if self._keyed:
                bound_to = self._owner.binding
                stored["fingerprint"] = keys.fingerprint(digest, keys.primary_id, bound_to)
        elif self._keyed and "json" not in stored and (suffixes or digest != written):
            stored["fingerprint"] = digest.hex()
        codec = self._codec + suffixes
        return _prepared(stored, codec, self._owner, content_sha256=digest, keys=keys)

    def _is_too_large(self, prepared: Prepared) -> bool:
        most = self._options.max_in_row
        return _is_larger(prepared.text, most) or _is_printed_larger(prepared.text, most)

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
        self._begin_object(destination)
        self._held = bytearray()

    def _begin_object(self, destination: Destination) -> None:
        self._object = destination.create()
        self._layers = self._layers_on(
            self._object, compresses=self._options.compression is not None
        )
        self._layers.write(self._held)

    def _layers_on(self, target: Any, *, compresses: bool) -> _Layers:
        stages = [ZSTD] * compresses + [FERNET] * (self._options.keys is not None)
        bound_to = self._owner.binding_of("+".join([self._codec, *stages]))
        return _Layers(target, self._options.keys, bound_to, compresses=compresses)

    def _check_size(self, size: int) -> None:
        """Refuse what no row takes before all of it is in memory."""
        if self._options.compression is None and size > self._options.max_in_row:
            raise _too_large_for("payload", self._options)

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
        self._layers = self._layers_on(row, compresses=compresses)
        self._layers.write(self._held)
        self._layers.close()
        return _in_base64(row.getvalue())


class _Layers:
    """What the bytes of a payload pass on their way to the row or the object; it closes neither."""

    def __init__(
        self, target: Any, keys: Keys | None, bound_to: bytes, *, compresses: bool
    ) -> None:
        self._top = target
        self._open: list[Any] = []
        self.suffixes = f"+{ZSTD}" if compresses else ""
        if keys is not None:
            self._add(keys.encrypting(target, bound_to))
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


def encrypted_again(options: Options, owner: Owner, envelope: Envelope) -> Prepared:
    """Return an encrypted payload encrypted with the first key, in a new object if it has one.

    Raise PayloadReadError or StorageError; the old object stays as it is.
    """
    keys = required_keys(options, envelope)
    bound_to = owner.binding_of(envelope.codec)
    is_keyed = envelope.fingerprint is not None
    digest = content_digest(options, envelope, owner) if is_keyed else None
    stored = {"key": keys.primary_id}
    if digest is not None:
        stored["fingerprint"] = keys.fingerprint(digest, keys.primary_id, owner.binding)
    row = io.BytesIO()
    with ExitStack() as unless_committed:
        target: Any = row
        if envelope.reference is not None:
            writer = options.require_storage().create(*owner.folders)
            target = unless_committed.enter_context(writer)
        layers = _Layers(target, keys, bound_to, compresses=False)
        with keys.decrypting(raw(options, envelope), envelope.key, bound_to) as file:
            shutil.copyfileobj(file, cast("Any", layers), _CHUNK)
        layers.close()
        written = _in_base64(row.getvalue()) if target is row else _of_object(target.commit())
    return _prepared(stored | written, envelope.codec, owner, content_sha256=digest, keys=keys)


def _is_larger(text: str, limit: int) -> bool:
    # A character takes four bytes at most.
    return len(text) * 4 > limit and len(text.encode()) > limit


def _is_printed_larger(text: str, limit: int) -> bool:
    # Each claim has it printed, and read over the network. Only of large texts it is found out.
    return len(text) * plain_json.MOST_PRINTED > limit and plain_json.printed_size(text) > limit


def _too_large_for(place: str, options: Options) -> PayloadError:
    ways = "raise Payloads(max_in_row=...)"
    if options.storage is None:
        ways = f"give the queue a storage, Payloads(storage=...), or {ways}"
    return PayloadError(
        f"{place} takes more than the {options.max_in_row} bytes that a row may have: {ways}"
    )


def _prepared(
    stored: dict[str, Any],
    codec: str,
    owner: Owner,
    *,
    content_sha256: bytes | None,
    keys: Keys | None,
) -> Prepared:
    encoded = plain_json.encode_tagged(stored)
    return Prepared(
        text=encoded.text,
        stored=encoded.value,
        codec=codec,
        uri=stored.get("uri"),
        content_sha256=content_sha256,
        keys=keys,
        owner=owner,
    )


def _of_object(reference: Reference) -> dict[str, Any]:
    return {"uri": reference.uri, "size": reference.size, "sha256": reference.sha256}


def _in_base64(data: bytes | bytearray) -> dict[str, Any]:
    return {"data": base64.b64encode(data).decode()}


def _at(place: str, encode: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return encode(*arguments, **options)
    except PayloadError as error:
        if place == "payload" or str(error).startswith(place):
            raise
        raise PayloadError(f"{place}: {error}") from error
