"""Tagged JSON as values: of a closed list of types, and of those that are allowed."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

from xclaim.errors import PayloadCorruptedError, PayloadReadError
from xclaim.payloads.codecs.allowed_types import Allowed
from xclaim.payloads.codecs.collisions import MOST_ALIKE, collide
from xclaim.payloads.codecs.tagging import TAG, step_of
from xclaim.payloads.plain_json import MAX_DEPTH

_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)


class Decoding:
    """One walk through tagged JSON. ``place`` is where it is, also after an error."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.place: list[str] = []

    def value(self, tagged: Any) -> Any:
        """Return the value that the JSON stands for."""
        if isinstance(tagged, dict):
            if TAG in tagged:
                return self._untagged(tagged)
            return {key: self.inside(f".{key}", item) for key, item in tagged.items()}
        if isinstance(tagged, list):
            return self.each(tagged)
        return tagged

    def inside(self, step: str, tagged: Any) -> Any:
        """Return the value of what lies one step further in."""
        # One level more than is written: the parts of a tag, such as an offset, are a level here.
        if len(self.place) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        self.place.append(step)
        value = self.value(tagged)
        self.place.pop()
        return value

    def each(self, tagged: list[Any]) -> list[Any]:
        """Return all the values."""
        return [self.inside(f"[{index}]", item) for index, item in enumerate(tagged)]

    def refuse(self, error: Exception) -> NoReturn:
        """Raise PayloadCorruptedError for what is at this place."""
        raise PayloadCorruptedError(
            f"payload{''.join(self.place)[:200]} cannot be decoded ({said(error)}): it was "
            "changed after it was pushed, or pushed by a later xclaim"
        ) from error

    def _untagged(self, tagged: dict[str, Any]) -> Any:
        name = _checked(tagged[TAG], str)
        decode = _DECODERS.get(name)
        if decode is None:
            raise ValueError(f"unknown tag {name[:60]!r}")
        return decode(self, tagged["value"], tagged)


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return value


def said(error: Exception) -> str:
    """Return in short what is wrong."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)[:200] or type(error).__name__


def _content(value: Any) -> bytes:
    return b64decode(_checked(value, str), validate=True)


def _to_text(_: Decoding, value: Any, __: dict[str, Any]) -> str:
    return _content(value).decode(errors="surrogatepass")


def _to_int(_: Decoding, value: Any, __: dict[str, Any]) -> int:
    return int(_checked(value, str), 16)


def _to_float(_: Decoding, value: Any, __: dict[str, Any]) -> float:
    return float(_checked(value, str))


def _to_decimal(_: Decoding, value: Any, __: dict[str, Any]) -> Decimal:
    # The constructor rounds nothing; the caller's context might let nonsense pass as NaN.
    return Decimal(_checked(value, str), Context(traps=[InvalidOperation]))


def _to_complex(decoding: Decoding, value: Any, __: dict[str, Any]) -> complex:
    real, imaginary = (_checked(part, float) for part in decoding.each(_checked(value, list)))
    return complex(real, imaginary)


def _to_tuple(decoding: Decoding, value: Any, __: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(decoding.each(_checked(value, list)))


def _to_set(decoding: Decoding, value: Any, __: dict[str, Any]) -> set[Any]:
    return set(_distinct(decoding.each(_checked(value, list))))


def _to_frozenset(decoding: Decoding, value: Any, __: dict[str, Any]) -> frozenset[Any]:
    return frozenset(_distinct(decoding.each(_checked(value, list))))


def _to_dict(decoding: Decoding, value: Any, __: dict[str, Any]) -> dict[Any, Any]:
    pairs = [_pair(pair) for pair in _checked(value, list)]
    keys = _distinct([decoding.inside("{}", key) for key, _ in pairs])
    return {
        key: decoding.inside(step_of(key), item)
        for key, (_, item) in zip(keys, pairs, strict=True)
    }  # fmt: skip


def _pair(pair: Any) -> tuple[Any, Any]:
    key, item = _checked(pair, list)
    return key, item


def _distinct(values: list[Any]) -> list[Any]:
    """Return values that a set or a dict can tell apart quickly. Raise ValueError for others."""
    if collide(values):
        raise ValueError(f"more than {MOST_ALIKE} elements have the same hash")
    return values


def _to_date(_: Decoding, value: Any, __: dict[str, Any]) -> date:
    return date.fromisoformat(_checked(value, str))


def _to_datetime(decoding: Decoding, value: Any, tagged: dict[str, Any]) -> datetime:
    read = datetime.fromisoformat(_checked(value, str))
    return read.replace(fold=_fold(tagged), tzinfo=_tzinfo(decoding, tagged, read.tzinfo))


def _to_time(decoding: Decoding, value: Any, tagged: dict[str, Any]) -> time:
    read = time.fromisoformat(_checked(value, str))
    return read.replace(fold=_fold(tagged), tzinfo=_tzinfo(decoding, tagged, read.tzinfo))


def _fold(tagged: dict[str, Any]) -> int:
    return int(_checked(tagged.get("fold", 0), int))


def _tzinfo(decoding: Decoding, tagged: dict[str, Any], offset: tzinfo | None) -> tzinfo | None:
    if "zone" not in tagged:
        return offset
    zone = decoding.inside(".tzinfo", tagged["zone"])
    if not isinstance(zone, tzinfo):
        raise TypeError("its zone is no time zone")
    return zone


def _to_timedelta(_: Decoding, value: Any, __: dict[str, Any]) -> timedelta:
    days, seconds, microseconds = (_checked(part, int) for part in _checked(value, list))
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _to_timezone(decoding: Decoding, value: Any, __: dict[str, Any]) -> timezone:
    offset, *name = decoding.each(_checked(value, list))
    return timezone(_checked(offset, timedelta), *name)


def _to_zone(_: Decoding, value: Any, __: dict[str, Any]) -> ZoneInfo:
    name = _checked(value, str)
    # ZoneInfo makes a path of it, and the name of a package in tzdata.
    if not _ZONE_NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is no name of a time zone")
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise PayloadReadError(
            f"the payload has the time zone {name[:60]!r}, which is unknown here: "
            "run `pip install tzdata`"
        ) from error


def _to_dataclass(decoding: Decoding, value: Any, tagged: dict[str, Any]) -> Any:
    kind = decoding.allowed.find(_checked(tagged["type"], str))
    fields = {
        name: decoding.inside(f".{name}", item)
        for name, item in _checked(value, dict).items()
    }  # fmt: skip
    return decoding.allowed.dataclass_of(kind, fields)


def _to_enum(decoding: Decoding, value: Any, tagged: dict[str, Any]) -> Enum:
    kind = decoding.allowed.find(_checked(tagged["type"], str))
    return decoding.allowed.member_of(kind, decoding.inside(".value", value))


_DECODERS: dict[str, Callable[[Decoding, Any, dict[str, Any]], Any]] = {
    "bytearray": lambda _, value, __: bytearray(_content(value)),
    "bytes": lambda _, value, __: _content(value),
    "complex": _to_complex,
    "dataclass": _to_dataclass,
    "date": _to_date,
    "datetime": _to_datetime,
    "decimal": _to_decimal,
    "dict": _to_dict,
    "enum": _to_enum,
    "float": _to_float,
    "frozenset": _to_frozenset,
    "int": _to_int,
    "set": _to_set,
    "text": _to_text,
    "time": _to_time,
    "timedelta": _to_timedelta,
    "timezone": _to_timezone,
    "tuple": _to_tuple,
    "uuid": lambda _, value, __: UUID(_checked(value, str)),
    "zone": _to_zone,
}
