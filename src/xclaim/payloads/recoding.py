"""An encrypted payload on its way to another key: from a stream of what was under the old one."""

from __future__ import annotations

import base64
import io
import shutil
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from xclaim.payloads import plain_json
from xclaim.payloads.envelope import Envelope, Prepared

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.payloads import Payloads
    from xclaim.payloads.stores.storage import ObjectWriter

_CHUNK = 1024 * 1024


class Recoder:
    """One payload, to the place it had. Leaving the block without ``finish`` leaves nothing."""

    def __init__(self, settings: Payloads, keys: Keys, queue: str, envelope: Envelope) -> None:
        self._keys = keys
        self._envelope = envelope
        self._object: ObjectWriter | None = None
        self._row = io.BytesIO()
        if envelope.reference is not None:
            self._object = settings.require_storage().create(queue)
        self._is_done = False

    def copy(self, file: BinaryIO) -> None:
        """Encrypt all of the file."""
        target = self._row if self._object is None else self._object
        encrypting = self._keys.encrypting(cast("Any", target))
        shutil.copyfileobj(file, encrypting, _CHUNK)
        encrypting.close()

    def finish(self, digest: bytes | None) -> Prepared:
        """Return the payload as its row will have it; ``digest`` is that of its fingerprint."""
        keys = self._keys
        stored: dict[str, Any] = {"key": keys.primary_id}
        uri = None
        if self._object is None:
            stored["data"] = base64.b64encode(self._row.getvalue()).decode()
        else:
            reference = self._object.commit()
            uri = reference.uri
            stored |= {"uri": uri, "size": reference.size, "sha256": reference.sha256}
        if digest is not None:
            stored["fingerprint"] = keys.fingerprint(digest, keys.primary_id)
        self._is_done = True
        return Prepared(text=plain_json.encode(stored).text, codec=self._envelope.codec, uri=uri)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the new object unless the payload was finished."""
        if not self._is_done and self._object is not None:
            self._object.discard()
