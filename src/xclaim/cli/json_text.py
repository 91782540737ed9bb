"""Values as JSON: each number exactly, and nothing raw that could steer a terminal."""

from __future__ import annotations

import json
import math
import re
import secrets
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

# Marks a number that json itself cannot write. Nobody can guess it and so forge one.
_MARK = secrets.token_hex(16)
_MARKED = re.compile(rf'"{_MARK}([^"]*)"')


def json_text(value: Any) -> str:
    """Return the value as JSON in one line.

    Text is as readable as it can be: what is not printable is escaped, in JSON's way.
    """
    try:
        text = _encode(value)
    except ValueError:  # a SQLite file may have what JSON has not
        text = _encode(_finite(value))
    if _MARK in text:
        text = _MARKED.sub(r"\1", text)
    if text.isprintable():
        return text
    # All of it stands in strings: JSON itself is printable.
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list():
            return [_finite(each) for each in value]
        case _:
            return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, Decimal) and value.is_finite():
        return f"{_MARK}{value}"
    return float(value)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain).encode
