"""The XCom backend: ``[core] xcom_backend = xclaim.airflow.xcom.XclaimXComBackend``.

Every process of Airflow imports this module. It imports nothing that Airflow's own backend does
not, and reads its configuration with the first XCom.
"""

from __future__ import annotations

import asyncio
import json
import logging
import marshal
import sys
from contextvars import ContextVar
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from xclaim.airflow.versions import async_method

from airflow.sdk.bases.xcom import BaseXCom

from xclaim.airflow.xcom.cleaning import clean_xcoms
from xclaim.airflow.xcom.exclusive_values import (
    ExclusiveValue,
    ExclusiveValueLostError,
    exclusive,
    gathering,
    push_values,
)
from xclaim.airflow.xcom.objects import (
    Owner,
    delete,
    escaped,
    is_marked,
    read,
    reference_in,
    unescaped,
    write,
)
from xclaim.airflow.xcom.serde import AirflowSerde, PlainJson
from xclaim.airflow.xcom.settings import xcom_settings
from xclaim.airflow.xcom.stored import StoredXCom
from xclaim.errors import PayloadError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import XComResult

    from xclaim.airflow.xcom.settings import XcomSettings
    from xclaim.payloads.codecs.registry import Codec

__all__ = [
    "ExclusiveValue",
    "ExclusiveValueLostError",
    "XclaimXComBackend",
    "clean_xcoms",
    "exclusive",
]

_WITHOUT_REFERENCES = 2  # the version of marshal's format that writes every value out
_MOST_JSON = 7  # bytes for one of marshal's: `false, `
_MOST_ESCAPED = 6  # bytes for one of text: `\u0000`
_PLAIN = (type(None), bool, int, float, str, list, dict, tuple)
_deleted: ContextVar[Owner | None] = ContextVar("deleted", default=None)
_logger = logging.getLogger("xclaim")


class XclaimXComBackend(BaseXCom):
    """Keeps small values where Airflow keeps them, and large ones in payload storage.

    Small ones stand in Airflow's database exactly as its own backend writes them. Without
    ``[xclaim] xcom_storage`` all of them do; ``exclusive()`` works all the same. Reading an XCom
    consumes nothing, ever.
    """

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Return what to put into the database: the value, or a reference to its object.

        :param value: the XCom's.
        :param key: the XCom's.
        :param task_id: whose it is, as the following.
        :param dag_id: see ``task_id``.
        :param run_id: see ``task_id``.
        :param map_index: see ``task_id``.
        """
        settings = xcom_settings()
        if type(value) is str and len(value) * _MOST_ESCAPED + 2 <= settings.threshold:
            return value  # as serde returns it
        index = -1 if map_index is None else map_index
        owner = Owner(dag_id or "", task_id or "", run_id or "", index, key or "")
        if settings.location is None or _is_read_by_airflow(owner.key):
            return escaped(_serialized(value, owner.key))
        reference = _stored_by_codec(settings, owner, value)
        return reference or _stored_if_large(settings, owner, value)

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Return the value, fetched if it lies in an object.

        :param result: what the database has.
        :raises PayloadReadError: the object is gone, was changed, or lies outside the storage.
        """
        _allow_exclusive_values()
        if not is_marked(result.value):
            return BaseXCom.deserialize_value(result)
        reference = reference_in(result.value)
        if reference is not None:
            return read(xcom_settings(), reference)
        return BaseXCom.deserialize_value(SimpleNamespace(value=unescaped(result.value)))

    @classmethod
    def delete(
        cls, key: str, task_id: str, dag_id: str, run_id: str, map_index: int | None = None
    ) -> None:
        """Delete an XCom and its object, as a retry begins with it.

        :param key: the XCom's.
        :param task_id: whose it is, as the following.
        :param dag_id: see ``task_id``.
        :param run_id: see ``task_id``.
        :param map_index: see ``task_id``.
        """
        index = -1 if map_index is None else map_index
        token = _deleted.set(Owner(dag_id, task_id, run_id, index, key))
        try:
            super().delete(key, task_id, dag_id, run_id, map_index)
        finally:
            _deleted.reset(token)

    @classmethod
    def purge(cls, xcom: XComResult, *args: Any) -> None:  # noqa: ARG003  (as Airflow calls it)
        """Delete the object of the XCom that is being deleted, and no object of another one.

        Called by itself it deletes nothing: of an XCom it is told only the key, not whose it is.

        :param xcom: what the database has.
        """
        try:
            reference = reference_in(xcom.value)
            if reference is not None and _is_deleted(reference.uri):
                delete(xcom_settings(), reference)
        except Exception:  # whatever it is, the task can do its work; clean_xcoms comes by later
            _logger.warning("the object of XCom %r was not deleted", xcom.key, exc_info=True)

    @classmethod
    async def aset(cls, key: str, value: Any, **options: Any) -> None:
        """Store an XCom, off the event loop: a storage is slow, and the triggerer has one loop.

        :param key: the XCom's.
        :param value: the XCom's.
        :param options: as of ``set``.
        """
        names = ("dag_id", "task_id", "run_id", "map_index")
        owner = {name: options[name] for name in names if name in options}
        stored = await asyncio.to_thread(cls.serialize_value, value, key=key, **owner)
        await async_method(StoredXCom, "set")(key, stored, **options)

    @classmethod
    async def aget_one(cls, **options: Any) -> Any:
        """Return an XCom, fetched off the event loop.

        :param options: as of ``get_one``.
        """
        stored = await async_method(StoredXCom, "get_one")(**options)
        return None if stored is None else await asyncio.to_thread(cls.deserialize_value, stored)

    @classmethod
    async def aget_all(cls, **options: Any) -> Any:
        """Return the XComs of all map indexes, fetched off the event loop.

        :param options: as of ``get_all``.
        """
        stored = await async_method(StoredXCom, "get_all")(**options)
        if stored is None:
            return None
        return [await asyncio.to_thread(cls.deserialize_value, each) for each in stored]


def _is_deleted(uri: str) -> bool:
    # Whoever may write an XCom may write any reference into it.
    owner = _deleted.get()
    return owner is not None and owner.owns(uri)


def _is_read_by_airflow(key: str) -> bool:
    # By its scheduler, which skips what a branch skipped, and its API server, which shows links:
    # both look into the database, and know of no backend.
    return key == "skipmixin_key" or key.startswith("_link_")


def _stored_by_codec(settings: XcomSettings, owner: Owner, value: Any) -> dict[str, Any] | None:
    """Return the reference if one of our codecs is for the value, None if Airflow's serde is."""
    codec = _codec_for(value)
    if codec is None or _is_small_frame(value, settings.threshold):
        return None
    try:
        return write(settings, owner, codec.name, partial(codec.encode, value))
    except PayloadError:
        if not _is_frame(value):
            raise
        return None  # a column that Arrow has no type for


def _stored_if_large(settings: XcomSettings, owner: Owner, value: Any) -> Any:
    plain = _as_plain_json(value)
    if plain is not None:
        text, read_back = plain
        if len(text) <= settings.threshold:
            return read_back
        return write(settings, owner, PlainJson.name, lambda file: file.write(text.encode()))
    serialized = _serialized(value, owner.key)
    if _is_surely_small(serialized, settings.threshold):
        return escaped(serialized)
    text = json.dumps(serialized)
    if len(text) <= settings.threshold:
        return escaped(serialized)
    return write(settings, owner, AirflowSerde.name, lambda file: file.write(text.encode()))


def _as_plain_json(value: Any) -> tuple[str, Any] | None:
    """Return the value as JSON and as it is read back, if it is the same to the last type.

    Airflow's serde would write that, too, and takes longer. None for what it writes otherwise or
    refuses, and what may be taken for something else.
    """
    if type(value) not in _PLAIN:
        return None
    try:
        text = json.dumps(value)
        read_back = json.loads(text)
        given, read = (marshal.dumps(each, _WITHOUT_REFERENCES) for each in (value, read_back))
    except (RecursionError, TypeError, ValueError):
        return None
    return None if given != read or '"__' in text else (text, read_back)


def _is_surely_small(serialized: Any, threshold: int) -> bool:
    # Five times as quick as json, for the many values that are nowhere near the threshold.
    try:
        size = len(marshal.dumps(serialized, _WITHOUT_REFERENCES))
    except ValueError:  # what only json knows
        return False
    return size * _MOST_JSON <= threshold


def _codec_for(value: Any) -> Codec | None:
    if type(value) in _PLAIN:
        return None
    from xclaim.payloads.codecs.registry import codec_for

    codec = codec_for(value)
    return None if codec is None or codec.name == "json-types" else codec


def _is_small_frame(value: Any, threshold: int) -> bool:
    return _is_frame(value) and int(value.memory_usage().sum()) <= threshold


def _is_frame(value: Any) -> bool:
    """Return whether Airflow's serde knows it, too, and can keep it in the database."""
    from xclaim.airflow.versions import serialized_by_name

    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, pandas.DataFrame):
        return False
    return serialized_by_name(pandas.DataFrame)  # before 3.3 not those of pandas 3


def _serialized(value: Any, key: str) -> Any:
    """Return the value as Airflow writes it, after pushing what is exclusive in it."""
    with gathering() as found:
        serialized: Any = BaseXCom.serialize_value(value)
    if not found:
        return serialized
    push_values(found.values(), key)
    return BaseXCom.serialize_value(value)


@cache
def _allow_exclusive_values() -> None:
    from xclaim.airflow.versions import allow_class

    allow_class(ExclusiveValue)
