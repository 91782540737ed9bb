"""XComs as objects: where one lies, how it is written and read.

``<prefix>/xcom/<dag>/<run>/<task>/<map index>/<key>/<uuid>``: whose an object is can be read from
its name alone. What stands in the XCom column instead is

    {"__xclaim__": "object", "uri": ..., "size": ..., "sha256": ..., "codec": "arrow+zstd+fernet",
     "key": "the encryption key's id"}

and a value of the user that has this key itself is wrapped: ``{"__xclaim__": "value", "value": }``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from xclaim.airflow.xcom.serde import PlainJson, XComSerde
from xclaim.errors import (
    EncryptionKeyError,
    PayloadCorruptedError,
    PayloadGoneError,
    StorageError,
)

if TYPE_CHECKING:
    from xclaim.airflow.xcom.settings import XcomSettings
    from xclaim.payloads.envelope import Envelope
    from xclaim.payloads.envelope import Owner as PayloadOwner

MARK: Final = "__xclaim__"
_IN_MEMORY = 256 * 1024 * 1024
_CHUNK = 1024 * 1024
_INDEX = re.compile("-1|[0-9]{1,9}")
_NO_TEXT = re.compile("[\\x00\ud800-\udfff]")  # of any database


class Owner(NamedTuple):
    """Whose XCom it is; in the order of the index that Airflow's table has."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    key: str

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders its objects lie in."""
        return self.dag_id, self.run_id, self.task_id, str(self.map_index), self.key

    def owns(self, uri: str) -> bool:
        """Return whether the object lies in this owner's folders, also where names were cut."""
        from xclaim.payloads.stores.references import folder_of

        *_, dag_id, run_id, task_id, map_index, key, _ = uri.split("/")
        return (dag_id, run_id, task_id, map_index, key) == tuple(map(folder_of, self.folders))

    @classmethod
    def of_uri(cls, uri: str) -> Owner | None:
        """Return whose object it is; None where a name was too long to be kept whole.

        Or where it is nobody's: no XCom has such names, and no database takes them.
        """
        from xclaim.payloads.stores.references import text_of_folder

        *_, dag_id, run_id, task_id, map_index, key, _ = map(text_of_folder, uri.split("/"))
        if not (dag_id and run_id and task_id and map_index and key):
            return None
        if not _INDEX.fullmatch(map_index) or _NO_TEXT.search(dag_id + run_id + task_id + key):
            return None
        return cls(dag_id, task_id, run_id, int(map_index), key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """What the XCom column has of an object."""

    uri: str
    size: int
    sha256: str
    codec: str
    key: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ObjectReference:
        """Return the reference. Raise PayloadCorruptedError if it is none."""
        types = {"uri": str, "size": int, "sha256": str, "codec": str}
        values = {name: value.get(name) for name in types}
        key = value.get("key")
        has_types = all(type(values[name]) is type_ for name, type_ in types.items())
        if not has_types or not isinstance(key, str | None):
            raise _not_ours()
        return cls(**values, key=key)  # type: ignore[arg-type]

    @property
    def envelope(self) -> Envelope:
        """What a row would have of a payload that lies there."""
        from xclaim.payloads.envelope import Envelope

        names = ("uri", "size", "sha256", "key")
        return Envelope.of({name: getattr(self, name) for name in names}, self.codec)


def is_marked(value: object) -> bool:
    """Return whether what an XCom column holds is ours, and not simply the value."""
    return isinstance(value, dict) and MARK in value


def escaped(serialized: Any) -> Any:
    """Return what to put in the column for a value that stays there."""
    return {MARK: "value", "value": serialized} if is_marked(serialized) else serialized


def reference_in(value: object) -> ObjectReference | None:
    """Return the reference that an XCom column holds, None if it holds a value."""
    if not isinstance(value, dict) or value.get(MARK) != "object":
        return None
    return ObjectReference.from_json(value)


def unescaped(value: Mapping[str, Any]) -> Any:
    """Return the value that ``escaped`` wrapped. Raise PayloadCorruptedError if it did not."""
    if value.keys() != {MARK, "value"} or value[MARK] != "value":
        raise _not_ours()
    return value["value"]


def write(
    settings: XcomSettings, owner: Owner, codec: str, encode: Callable[[BinaryIO], object]
) -> dict[str, Any]:
    """Write an object and return what to put in the column.

    :param settings: where to, and whether compressed and encrypted.
    :param owner: whose it is.
    :param codec: the name of what ``encode`` writes.
    :param encode: writes the value.
    """
    from xclaim.payloads.writing import Destination, Sink

    options = settings.payload_options
    destination = Destination(options.require_storage(), owner.folders, threshold=None)
    with Sink(options, destination, codec, _bound_to(owner)) as sink:
        encode(cast("BinaryIO", sink))
        prepared = sink.finish()
    return {MARK: "object", **prepared.stored, "codec": prepared.codec}


def read(settings: XcomSettings, reference: ObjectReference) -> Any:
    """Return the value that lies in the object.

    :param settings: where it may lie, and the keys.
    :param reference: as it stood in the column.
    :raises PayloadGoneError: there is no such object any more.
    :raises PayloadReadError: it is not what was written, lies elsewhere, or cannot be decoded.
    :raises StorageError: the storage cannot be reached, or is not configured here.
    """
    if settings.location is None:
        raise StorageError(
            f"the XCom lies in {reference.uri}, and [xclaim] xcom_storage is not set here: set it "
            "in every process that runs tasks or triggers"
        )
    from xclaim.payloads.codecs.registry import codec_named
    from xclaim.payloads.envelope import FERNET, suffixes
    from xclaim.payloads.reading import opened

    if settings.keys is None and FERNET in suffixes(reference.codec):
        raise EncryptionKeyError(
            f"the XCom is encrypted with the key {reference.key}, and [xclaim] xcom_encryption is "
            "not set here: set it in every process that runs tasks or triggers"
        )
    codec = codec_named(reference.codec.partition("+")[0], [XComSerde(), PlainJson()])
    try:
        opening = opened(settings.payload_options, reference.envelope, _written_for(reference.uri))
        with opening as file, _whole(file) as whole:
            return codec.decode(whole)
    except PayloadGoneError as error:
        raise PayloadGoneError(
            f"the XCom's object is not in {reference.uri} any more: it was deleted with its "
            "retry, by clean-xcoms, by a lifecycle rule of the bucket, or by hand; clear the task "
            "that pushed it"
        ) from error


def delete(settings: XcomSettings, reference: ObjectReference) -> None:
    """Delete the object; that it is gone already is fine.

    :param settings: where it may lie.
    :param reference: as it stood in the column.
    """
    settings.storage().delete([reference.uri])


def _bound_to(owner: Owner) -> PayloadOwner:
    """Return what an encrypted object is bound to: the folders it lies in."""
    from xclaim.payloads.envelope import Owner as PayloadOwner
    from xclaim.payloads.stores.references import folder_of

    return PayloadOwner(tuple(map(folder_of, owner.folders)))


def _written_for(uri: str) -> PayloadOwner:
    # Whose XCom is read Airflow does not always say, and a name may be too long to be kept whole.
    from xclaim.payloads.envelope import Owner as PayloadOwner

    return PayloadOwner(tuple(uri.split("/")[-1 - len(Owner._fields) : -1]))


def _not_ours() -> PayloadCorruptedError:
    return PayloadCorruptedError(
        f"the XCom has {MARK!r} and is not as the XCom backend of xclaim writes them: it was "
        "changed, or a newer xclaim wrote it; clear the task that pushed it"
    )


def _whole(file: BinaryIO) -> BinaryIO:
    # Read to its end before anything is decoded: only there the digest is known to be right.
    whole = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (the caller closes it)
    while chunk := file.read(_CHUNK):
        whole.write(chunk)
    whole.seek(0)
    return cast("BinaryIO", whole)
