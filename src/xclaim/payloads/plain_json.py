"""Payloads as JSON text: what PostgreSQL's jsonb can hold, checked before anything is sent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xclaim.errors import PayloadError

_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload as JSON text, and as it is read back from it."""

    text: str
    value: Any


def encode(value: Any, noun: str = "payload") -> Encoded:
    """Return ``value`` as JSON. Raise PayloadError naming what is not JSON, and where.

    Refused is what JSON or jsonb lacks: NaN and infinities, bytes and other objects, keys that are
    not text, NUL and lone surrogates in text, cycles. Keys are sorted, so that equal payloads are
    equal texts.
    """
    try:
        text = _encoder.encode(value)
        decoded = json.loads(text)
        # Most payloads pass here; a tuple does not, nor does a backslash before u0000.
        if decoded == value and "\\u0000" not in text and is_storable_text(text):
            return Encoded(text, decoded)
    except (RecursionError, TypeError, ValueError):
        pass  # said below, with the place
    return _encode_checked(value, noun)


def _encode_checked(value: Any, noun: str) -> Encoded:
    try:
        _check(value, noun)
        text = _encoder.encode(value)
        return Encoded(text, json.loads(text))
    except RecursionError:
        raise PayloadError(f"{noun} contains itself or is nested too deeply: flatten it") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"{noun} is not JSON ({error})") from error


@dataclass(frozen=True, slots=True)
class PlainBatch:
    """Payloads that are plain JSON and stay in their rows, as one JSON array for one statement."""

    encoded: Encoded


def encode_all(values: Sequence[Any], first: int = 0) -> Encoded:
    """Return the payloads as one JSON array; ``first`` is the number of the first one, for errors.

    Several times quicker than one by one. Raise PayloadError as ``encode`` does.
    """
    try:
        text = _encoder.encode(values)
        decoded = json.loads(text)
        if decoded == values and "\\u0000" not in text and is_storable_text(text):
            return Encoded(text, decoded)
    except (RecursionError, TypeError, ValueError):
        pass  # said below, with the place
    each = [encode(value, name_of(first + index)) for index, value in enumerate(values)]
    return Encoded(f"[{','.join(one.text for one in each)}]", [one.value for one in each])


def encode_each(values: Sequence[Any]) -> list[Encoded] | None:
    """Return the payloads one by one, checked as a whole; None if one needs a closer look."""
    try:
        texts = [_encoder.encode(value) for value in values]
        text = f"[{','.join(texts)}]"
        decoded = json.loads(text)
        if decoded == list(values) and "\\u0000" not in text and is_storable_text(text):
            return [Encoded(*each) for each in zip(texts, decoded, strict=True)]
    except (RecursionError, TypeError, ValueError):
        pass  # said by who looks closer, with the place
    return None


def encode_within(values: Sequence[Any], limit: int) -> Encoded | None:
    """Return the payloads as one JSON array; None if one has more than ``limit`` bytes.

    None also if one needs a closer look. Not one by one, which takes three times as long: in parts
    that are within the limit themselves.
    """
    try:
        texts = _texts_within(values, limit)
        if texts is None:
            return None
        text = f"[{','.join(texts)}]"
        decoded = json.loads(text)
        if decoded == values and "\\u0000" not in text and is_storable_text(text):
            return Encoded(text, decoded)
    except (RecursionError, TypeError, ValueError):
        pass  # said by who looks closer, with the place
    return None


def _texts_within(values: Sequence[Any], limit: int) -> list[str] | None:
    texts: list[str] = []
    first, count = 0, 1
    while first < len(values):
        text = _encoder.encode(values[first : first + count])[1:-1]
        size = len(text) if text.isascii() else len(text.encode())
        if size <= limit:
            texts.append(text)
            first += count
            # As many as are likely to be within the limit together.
            count = limit * count // (2 * size + 1) or 1
        elif count == 1:
            return None
        else:
            count //= 2
    return texts


def decode(data: bytes) -> Any:
    """Return the JSON."""
    return json.loads(data)


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


def is_storable_text(value: str) -> bool:
    """Return whether PostgreSQL can hold the text: valid Unicode without NUL."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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
