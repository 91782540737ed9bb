"""What the row has of an encoded payload: where it is, how large, and its digest.

The column ``codec`` names what was done to the payload, in order: ``arrow+zstd+fernet``. It is NULL
for plain JSON. Otherwise ``payload`` is an object with one of

    {"json": ...}                                 typed JSON, readable with SQL
    {"data": "<base64>"}                          encoded, in the row
    {"uri": ..., "size": ..., "sha256": ...}      an object: size and digest as it lies there
    {"size": ..., "sha256": ...} or {}            consumed, and reduced to its digest, or dropped

and ``key``, the id of the key it is encrypted with; ``fingerprint``, a digest of the payload
itself, where it has a unique key and compression or encryption hide whether two are the same.

What is encrypted is bound to its row: to the JSON ``[codec,[queue],unique_key]``, ASCII without
spaces, the queue being the one it was pushed to; its fingerprint to ``[[queue],unique_key]``. So
the one does not open in another queue or under another key, and the other is not the same there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from xclaim.errors import PayloadCorruptedError, PayloadReadError, UnknownCodecError
from xclaim.payloads import plain_json
from xclaim.payloads.stores.references import OwnObject, Reference

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys

JSON = "json"
TYPED_JSON = "json-types"
ZSTD = "zstd"
FERNET = "fernet"
_STAGES = (ZSTD, FERNET)  # in the order in which they are done
DIGEST = "digest"  # the codecs of what is left after an ack
DROPPED = "dropped"
_REFERENCE = ("uri", "size", "sha256")
_MOST_SHOWN = 60  # characters of a codec in an error


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose payload it is: of which folders (of a message: its queue), under which unique key."""

    folders: tuple[str, ...]
    unique_key: str | None = None

    @property
    def binding(self) -> bytes:
        """What a fingerprint is bound to."""
        return _json(list(self.folders), self.unique_key)

    def binding_of(self, codec: str) -> bytes:
        """Return what a payload is bound to that is encrypted after this codec."""
        return _json(codec, list(self.folders), self.unique_key)


def _json(*parts: Any) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode()


# A Struct, because each payload of a large batch is one: it is made in a tenth of the time.
class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A payload as its row will have it: ``text`` is JSON, ``stored`` that as it is read back.

    ``content_sha256`` is the digest of what the codec made of it, and of plain JSON None. ``keys``
    and ``owner`` tell whether it is the same as one that is encrypted.
    """

    text: str
    stored: Any
    codec: str | None = None
    uri: str | None = None
    content_sha256: bytes | None = None
    keys: Keys | None = None
    owner: Owner | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the payload as its codec encodes it, of JSON as ``plain_json`` has it."""
        if self.content_sha256 is not None:
            return self.content_sha256
        return plain_json.digest(self.stored)

    @property
    def own_object(self) -> OwnObject | None:
        """The object that was made for it; None if it stands in its row."""
        if self.uri is None or self.owner is None:
            return None
        return OwnObject(self.uri, self.owner.folders[0])

    def is_same_as(self, stored: Any, codec: str | None) -> bool:
        """Return whether it is the payload that stands stored already, however that is encoded."""
        if codec is None:
            return self.digest == plain_json.digest(stored)
        envelope = Envelope.of(stored, codec)
        if envelope.is_dropped:
            return True  # nothing is left to compare with
        if envelope.key is None:
            return self.digest == envelope.content_digest()
        if self.keys is None or self.owner is None or envelope.fingerprint is None:
            return False
        mine = self.keys.fingerprint(self.digest, envelope.key, self.owner.binding)
        return mine == envelope.fingerprint

    def unknown_key(self, stored: Any, codec: str | None) -> str | None:
        """Return the id of the key that what stands stored is encrypted with, if it is not here."""
        key = stored.get("key") if codec is not None and isinstance(stored, dict) else None
        if not isinstance(key, str) or (self.keys is not None and key in self.keys):
            return None
        return key[:_MOST_SHOWN]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An encoded payload as it stands in the row, checked."""

    codec: str
    stored: dict[str, Any]
    is_json: bool = False
    data: bytes | None = None
    reference: Reference | None = None
    key: str | None = None
    fingerprint: str | None = None

    @classmethod
    def of(cls, stored: Any, codec: str) -> Envelope:
        """Return the envelope. Raise PayloadCorruptedError if the row's payload is none."""
        suffixes(codec)
        if not isinstance(stored, dict):
            raise _malformed(codec, "it is no object")
        common: dict[str, Any] = {"codec": codec, "stored": stored}
        common |= {"key": _text(stored, "key"), "fingerprint": _text(stored, "fingerprint")}
        if codec in (DIGEST, DROPPED):
            return cls(**common)
        if "uri" in stored:
            names: Any = (stored.get(name) for name in _REFERENCE)  # checked by the reference
            return cls(**common, reference=Reference(*names))
        if "json" in stored and codec == TYPED_JSON:
            return cls(**common, is_json=True)
        if isinstance(stored.get("data"), str):
            try:
                data = base64.b64decode(stored["data"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise _malformed(codec, "its data is no base64") from error
            return cls(**common, data=data)
        raise _malformed(codec, "it has neither a uri nor data")

    @property
    def is_gone(self) -> bool:
        """Whether the payload was removed when its message was consumed."""
        return self.codec in (DIGEST, DROPPED)

    @property
    def is_dropped(self) -> bool:
        """Whether not even its digest was kept."""
        return self.codec == DROPPED

    @property
    def json(self) -> Any:
        """What stands in the row as typed JSON."""
        return self.stored["json"]

    def content_digest(self) -> bytes | None:
        """Return SHA-256 of what the codec made of the payload, as far as it is known."""
        if self.fingerprint is not None:
            return _digest(self.fingerprint)
        if self.is_json:
            return plain_json.digest(self.json)
        if self.data is not None:
            return hashlib.sha256(self.data).digest()
        digest = self.reference.sha256 if self.reference else self.stored.get("sha256")
        return _digest(digest)


def suffixes(codec: str) -> list[str]:
    """Return what was done after the encoding: compressed, encrypted, in this order, or neither.

    Raise UnknownCodecError for what is not known, PayloadCorruptedError for what is done twice or
    the other way round: nothing was ever pushed so, and each stage is work.
    """
    names = codec.split("+")[1:]
    for name in names:
        if name not in _STAGES:
            raise UnknownCodecError(
                f"the payload was encoded as {shown(codec)}, and {shown(name)} is not known here: "
                "upgrade xclaim to the version that pushed it"
            )
    if names != [stage for stage in _STAGES if stage in names]:
        raise PayloadCorruptedError(
            f"the payload is said to be encoded as {shown(codec)}, and each stage is done once, "
            "compression before encryption: the row was changed by hand"
        )
    return names


def is_encrypted(codec: str | None) -> bool:
    """Return whether a payload of this codec is encrypted. Raise as ``suffixes`` does."""
    return codec is not None and FERNET in suffixes(codec)


def shown(codec: str) -> str:
    """Return a codec for an error: it may be text without end."""
    return repr(codec if len(codec) <= _MOST_SHOWN else f"{codec[:_MOST_SHOWN]}...")


def own_object(stored: Any, codec: str | None, queue: str) -> OwnObject | None:
    """Return the object that a row of the queue names; None if it names none."""
    uri = stored.get("uri") if codec is not None and isinstance(stored, dict) else None
    return OwnObject(uri, queue) if isinstance(uri, str) else None


def reduced(stored: Any, codec: str | None) -> str:
    """Return as JSON text what is left of a payload when it is reduced to its digest."""
    if codec is None:
        text = plain_json.encode_tagged(stored).text
        left: dict[str, Any] = {
            "size": len(text.encode()),
            "sha256": plain_json.digest(stored).hex(),
        }
    else:
        # Also of a row that was changed by hand: whoever cannot read a message may still ack it.
        names = ("size", "sha256", "key", "fingerprint")
        known = stored if isinstance(stored, dict) else {}
        left = {name: known[name] for name in names if name in known}
        if "sha256" not in left:
            with suppress(PayloadReadError):
                known_digest = Envelope.of(stored, codec).content_digest()
                left |= {} if known_digest is None else {"sha256": known_digest.hex()}
    return plain_json.encode_tagged(left).text


def _digest(text: Any) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        return None


def _text(stored: dict[str, Any], name: str) -> str | None:
    value = stored.get(name)
    return value if isinstance(value, str) else None


def _malformed(codec: str, what: str) -> PayloadCorruptedError:
    return PayloadCorruptedError(
        f"the row's payload is not what the codec {shown(codec)} stores: {what}; it was changed by "
        "hand"
    )
