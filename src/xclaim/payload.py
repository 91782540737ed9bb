"""Payloads as JSON text: what PostgreSQL's jsonb can hold, checked before anything is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from xclaim.errors import PayloadError


def encode(value: Any, noun: str = "payload") -> str:
    """Return ``value`` as JSON text. Raise PayloadError naming what is not JSON, and where.

    Refused is what JSON or jsonb lacks: NaN and infinities, bytes and other objects, keys that are
    not text, NUL and lone surrogates in text, cycles. Keys are sorted, so that equal payloads are
    equal texts.
    """
    try:
        _check(value, noun)
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise PayloadError(f"{noun} contains itself or is nested too deeply: flatten it") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"{noun} is not JSON ({error})") from error


def encode_headers(headers: Mapping[str, Any] | None) -> str:
    """Return the headers as JSON text; none are ``{}``."""
    if headers is None:
        return "{}"
    if not isinstance(headers, Mapping):
        raise PayloadError(f"headers must be a mapping, not {type(headers).__name__}")
    return encode(dict(headers), "headers")


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
            "use dict, list, str, int, float, bool or None"
        )


def _check_text(value: str, path: str) -> None:
    if not is_storable_text(value):
        raise PayloadError(
            f"{path} has a NUL or a lone surrogate, which no database text can hold: "
            "remove it or encode the value (base64)"
        )
