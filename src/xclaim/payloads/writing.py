"""What a codec writes to: the row, until it is more than the threshold, then an object."""

from __future__ import annotations

import base64
import hashlib
import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from xclaim.payloads import plain_json
from xclaim.payloads.envelope import FERNET, TYPED_JSON, ZSTD, Prepared

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from xclaim.payloads.payloads import Payloads
    from xclaim.payloads.stores.storage import ObjectWriter


class Sink(io.RawIOBase):
    """One payload on its way. Leaving the block without ``finish`` removes what was written."""

    def __init__(self, settings: Payloads, queue: str, codec: str, *, keyed: bool) -> None:
        super().__init__()
        self._settings = settings
        self._queue = queue
        self._codec = codec
        self._keyed = keyed
        self._held = bytearray()
        self._digest = hashlib.sha256()
        self._object: ObjectWriter | None = None
        self._layers: list[Any] = []
        self._suffixes = ""
        self._is_done = False

    def writable(self) -> bool:
        """Return True: it is for writing only."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take a part of the encoded payload."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        if self._object is None:
            if self._settings.storage is None or (
                len(self._held) + len(view) <= self._settings.threshold
            ):
                self._held += view
                return len(view)
            self._begin_object()
        self._layers[-1].write(view)
        return len(view)

    def finish(self, content_digest: bytes | None = None) -> Prepared:
        """Return the payload as its row will have it.

        ``content_digest``: by which it is compared with another one, if not by the bytes written.
        """
        stored: dict[str, Any]
        if self._object is None:
            stored = self._in_the_row()
            uri = None
        else:
            for layer in reversed(self._layers[1:]):
                layer.close()
            reference = self._object.commit()
            uri = reference.uri
            stored = {"uri": uri, "size": reference.size, "sha256": reference.sha256}
        self._is_done = True
        codec = self._codec + self._suffixes
        written = self._digest.digest()
        digest = content_digest or written
        if self._settings.keys is not None:
            stored["key"] = self._settings.keys.primary_id
            if self._keyed:
                stored["fingerprint"] = self._settings.keys.fingerprint(digest, stored["key"])
        elif self._keyed and "json" not in stored and (self._suffixes or digest != written):
            stored["fingerprint"] = digest.hex()
        return Prepared(
            text=plain_json.encode(stored).text,
            codec=codec,
            uri=uri,
            content_sha256=digest,
            settings=self._settings,
        )

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
        if not self._is_done and self._object is not None:
            self._object.discard()

    def _begin_object(self) -> None:
        storage = self._settings.require_storage()
        self._object = storage.create(self._queue)
        self._layers = [self._object]
        if self._settings.keys is not None:
            self._layers.append(self._settings.keys.encrypting(cast("Any", self._object)))
        if self._settings.compression is not None:
            from xclaim.payloads.layers.compression import compressing

            self._layers.append(compressing(self._layers[-1]))
        self._suffixes = self._all_suffixes()
        self._layers[-1].write(bytes(self._held))
        self._held.clear()

    def _in_the_row(self) -> dict[str, Any]:
        is_large = len(self._held) > self._settings.threshold  # there is no storage then
        if self._settings.keys is None and not (is_large and self._settings.compression):
            if self._codec == TYPED_JSON:
                return {"json": plain_json.decode(bytes(self._held))}
            return {"data": base64.b64encode(self._held).decode()}
        row = io.BytesIO()
        layers: list[Any] = [row]
        if self._settings.keys is not None:
            layers.append(self._settings.keys.encrypting(row))
            self._suffixes = f"+{FERNET}"
        if is_large and self._settings.compression:
            from xclaim.payloads.layers.compression import compressing

            layers.append(compressing(layers[-1]))
            self._suffixes = self._all_suffixes()
        layers[-1].write(bytes(self._held))
        for layer in reversed(layers[1:]):
            layer.close()
        return {"data": base64.b64encode(row.getvalue()).decode()}

    def _all_suffixes(self) -> str:
        compressed = f"+{ZSTD}" if self._settings.compression else ""
        return compressed + (f"+{FERNET}" if self._settings.keys is not None else "")
