"""Payloads as JSON text: what PostgreSQL's jsonb can hold, checked before anything is sent."""

from __future__ import annotations

import hashlib
import json
import marshal
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from xclaim.arguments import is_storable_text
from xclaim.errors import PayloadError

# Two ways to the same text and value: the quick one for what it surely gets right, and Python's own
# for all else, which says exactly what is wrong. Keys are sorted by both.
_quick_encode = msgspec.json.Encoder(order="sorted").encode
_quick_decode = msgspec.json.Decoder().decode
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_TYPES = frozenset((dict, list, str, int, float, bool, type(None)))
_ONLY_PLAIN_TYPES = 2  # the version of marshal's format without references, which take time


class Encoded(msgspec.Struct, frozen=True):
    """A payload as JSON text, and as it is read back from it."""

    text: str
    value: Any


def encode(value: Any, noun: str = "payload") -> Encoded:
    """Return ``value`` as JSON. Raise PayloadError naming what is not JSON, and where.

    Refused is what JSON or jsonb lacks: NaN and infinities, bytes and other objects, keys that are
    not text, NUL and lone surrogates in text, cycles. Keys are sorted, so that equal payloads are
    equal texts.
    """
    return encode_at_once(value) or encode_closely(value, noun)


def encode_at_once(value: Any) -> Encoded | None:
    """Return a value of plain types as JSON; None if only ``encode_closely`` can tell.

    What nearly all payloads are, and several times quicker than a closer look at them.
    """
    if type(value) not in _TYPES:
        return None
    try:
        data = _quick_encode(value)
        # It also encodes what is no JSON, such as dates, sets and dataclasses. marshal refuses
        # instances of classes, whose own idea of equality would decide below; what else it takes
        # is not equal to what is read back.
        marshal.dumps(value, _ONLY_PLAIN_TYPES)
        text, read = data.decode(), _quick_decode(data)
    except Exception:  # noqa: BLE001  (an object may raise anything; encode_closely explains)
        return None
    # A NUL is a backslash and u0000; so is the text of that, which the closer look tells from it.
    return Encoded(text, read) if read == value and "\\u0000" not in text else None


def encode_closely(value: Any, noun: str) -> Encoded:
    """Return the value as ``encode`` does, whatever it is."""
    try:
        text = _encoder.encode(value)
        decoded = json.loads(text)
        # A tuple does not pass here, nor does a backslash before u0000.
        if decoded == value and "\\u0000" not in text and is_storable_text(text):
            return _in_one_form(text, decoded)
    except (RecursionError, TypeError, ValueError):
        pass  # the checks below find what is wrong and where
    return _encode_checked(value, noun)


def _encode_checked(value: Any, noun: str) -> Encoded:
    try:
        _check(value, noun)
        text = _encoder.encode(value)
        return _in_one_form(text, json.loads(text))
    except RecursionError:
        raise PayloadError(f"{noun} contains itself or is nested too deeply: flatten it") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"{noun} is not JSON ({error})") from error


def _in_one_form(text: str, decoded: Any) -> Encoded:
    # As the quick way writes it, `1e16` and not `1e+16`: SQLite compares payloads as texts.
    try:
        return Encoded(_quick_encode(decoded).decode(), decoded)
    except RecursionError:
        return Encoded(text, decoded)


def decode(data: bytes | str) -> Any:
    """Return the JSON. Raise ValueError if it is none."""
    try:
        return _quick_decode(data)
    except (msgspec.DecodeError, UnicodeError):
        return json.loads(data)  # which also knows NaN, and 1e400; or says what is wrong


def digest(value: Any) -> bytes:
    """Return SHA-256 of the JSON with sorted keys and no spaces; of equal values it is equal.

    Numbers are equal as jsonb has it, which gives ``1e16`` back as a whole number.
    """
    return hashlib.sha256(_encoder.encode(_whole(value)).encode()).digest()


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
        case _:
            return value


def name_of(index: int) -> str:
    """Return what errors call the payload at this place of a batch."""
    return "payload" if index == 0 else f"payload {index}"


def encode_headers(headers: Mapping[str, Any] | None) -> str:
    """Return the headers as JSON text; none are ``{}``."""
    if headers is None:
        return "{}"
    if not isinstance(headers, Mapping):
        raise PayloadError(f"headers must be a mapping, not {type(headers).__name__}")
    return encode(dict(headers), "headers").text


def _check(value: Any, path: str) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadError(f"{path} is {value}, which JSON lacks: use None or a string")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PayloadError(f"{path} has the key {key!r}, which is not text: use str(key)")
            _check_text(key, f"{path} key {key!r}")
            _check(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
    elif value is not None and not isinstance(value, bool | int):
        raise PayloadError(
            f"{path} is of type {type(value).__name__}, which is not JSON: "
            "use dict, list, str, int, float, bool or None, or register a codec for it"
        )


def _check_text(value: str, path: str) -> None:
    if not is_storable_text(value):
        raise PayloadError(
            f"{path} has a NUL or a lone surrogate, which no database text can hold: "
            "remove it or encode the value (base64)"
        )
