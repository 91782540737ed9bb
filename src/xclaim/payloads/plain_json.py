"""Payloads as JSON text: what PostgreSQL's jsonb can hold, checked before anything is sent."""

from __future__ import annotations

import hashlib
import json
import marshal
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec

from xclaim.arguments import is_storable_text, refuse_constant
from xclaim.errors import PayloadError

# Two ways to the same text and value: the quick one for what it surely gets right, and Python's own
# for all else, which says exactly what is wrong. Keys are sorted by both.
_quick_encode = msgspec.json.Encoder(order="sorted").encode
_quick_decode = msgspec.json.Decoder().decode
_quick_encode_lines = msgspec.json.Encoder(order="sorted").encode_lines
_quick_decode_lines = msgspec.json.Decoder().decode_lines
_TEXTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_EXPONENTS = re.compile(r"[0-9]e[+-]?([0-9]{1,6})", re.IGNORECASE)
MOST_PRINTED = 52  # times the characters of a float, as of 1e308 and its comma
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_digest_encoder = json.JSONEncoder(
    # A Decimal is one of exact_numbers.
    ensure_ascii=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
    default=float,
)
_TYPES = frozenset((dict, list, str, int, float, bool, type(None)))
# Levels of lists and objects, of plain JSON and of JSON with tags alike. Python reads JSON, and
# makes values of it, by recursion: so many are read from any stack that has half of its 1,000
# frames left.
MAX_DEPTH = 100
MAX_HEADERS = 64 * 1024  # bytes of JSON: each claim brings them along
_ANY_DEPTH = 2**31
_CONTAINERS = (dict, list)
_ONLY_PLAIN_TYPES = 2  # the version of marshal's format without references, which take time


class Encoded(msgspec.Struct, frozen=True):
    """A payload as JSON text, and as it is read back from it."""

    text: str
    value: Any


def encode(value: Any, noun: str = "payload") -> Encoded:
    """Return ``value`` as JSON. Raise PayloadError naming what is not JSON, and where.

    Refused is what JSON or jsonb lacks: NaN and infinities, bytes and other objects, keys that are
    not text, NUL and lone surrogates in text, cycles, and what is nested deeper than ``MAX_DEPTH``.
    Keys are sorted, so that equal payloads are equal texts.
    """
    return encode_at_once(value) or encode_closely(value, noun)


def encode_tagged(value: Any, noun: str = "payload") -> Encoded:
    """Return JSON of our own making as ``encode`` does, however deep: each tag is some levels."""
    return encode_at_once(value, _ANY_DEPTH) or _encode_closely(value, noun)


def encode_at_once(value: Any, levels: int = MAX_DEPTH) -> Encoded | None:
    """Return a value of plain types as JSON; None if only ``encode_closely`` can tell.

    What nearly all payloads are, and several times quicker than a closer look at them.
    """
    if type(value) not in _TYPES:
        return None
    both = _text_and_value(value, _quick_encode, _quick_decode)
    if both is None:
        return None
    text, read = both
    return None if _is_deeper(read, text, levels) else Encoded(text, read)


def encode_many_at_once(values: list[Any]) -> tuple[list[str], list[Any]] | None:
    """Return what ``encode_at_once`` does for each value: the texts, and the values read back.

    None if it would return None for any. In a third of the time.
    """
    if not _TYPES.issuperset(map(type, values)):
        return None
    both = _text_and_value(values, _quick_encode_lines, _quick_decode_lines)
    if both is None:
        return None
    whole, read = both
    texts = whole.split("\n")[:-1]  # one in a text is escaped
    if max(map(len, texts)) > 2 * MAX_DEPTH and any(
        _is_deeper(*each, MAX_DEPTH) for each in zip(read, texts, strict=True)
    ):
        return None
    return texts, read


def _text_and_value(
    value: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> tuple[str, Any] | None:
    """Return what is made of the value, and that as it is read back; None if they may differ."""
    try:
        data = encode(value)
        # It also encodes what is no JSON, such as dates, sets and dataclasses. marshal refuses
        # instances of classes, whose own idea of equality would decide below; what else it takes
        # is not equal to what is read back.
        marshal.dumps(value, _ONLY_PLAIN_TYPES)
        text, read = data.decode(), decode(data)
    except Exception:  # noqa: BLE001  (an object may raise anything; encode_closely explains)
        return None
    # A NUL is a backslash and u0000; so is the text of that, which the closer look tells from it.
    return None if read != value or "\\u0000" in text else (text, read)


def encode_closely(value: Any, noun: str) -> Encoded:
    """Return the value as ``encode`` does, whatever it is."""
    encoded = _encode_closely(value, noun)
    if _is_deeper(encoded.value, encoded.text, MAX_DEPTH):
        raise _too_deep(noun)
    return encoded


def _is_deeper(value: Any, text: str, levels: int) -> bool:
    """Return whether JSON is nested deeper: level by level, without recursion."""
    # Most payloads are short or flat, which is told in a tenth of the time of counting.
    if len(text) <= 2 * levels or ("[" not in text and text.find("{", 1) < 0):
        return False
    left = text.count("[") + text.count("{")  # containers there are at most, those in texts too
    level = [value] if left > levels and type(value) in _CONTAINERS else []
    for depth in range(levels):
        left -= len(level)
        if left < levels - depth or not level:  # what is left is too little to be so deep
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
    return bool(level)


def _too_deep(noun: str) -> PayloadError:
    return PayloadError(
        f"{noun} must not contain a cycle, or be nested deeper than {MAX_DEPTH} levels: flatten it"
    )


def _encode_closely(value: Any, noun: str) -> Encoded:
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
        raise _too_deep(noun) from None
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


def decode_strictly(data: bytes | str) -> Any:
    """Return the JSON of a row, which anybody may have written, however deep the stack is here.

    Raise ValueError for what is none, or has numbers or text that Python could not write again;
    RecursionError if it is nested too deeply for Python.
    """
    try:
        return _quick_decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _decode_slowly(data)


def _decode_slowly(data: bytes | str) -> Any:
    try:
        return _decode_closely(data)
    except RecursionError:
        from concurrent.futures import ThreadPoolExecutor  # rarely needed, and slow to import

        # On a stack of its own: what is too deep must not depend on how deep the caller is.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(_decode_closely, data).result()


def _decode_closely(data: bytes | str) -> Any:
    value = json.loads(data, parse_constant=refuse_constant, parse_int=_whole_number)
    _encoder.encode(value).encode()  # 1e400 is infinite, and half a surrogate pair no text
    return value


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's own text is advice for programmers, and no way out here
        raise ValueError(f"a number has {len(text):,} digits, more than Python reads") from None


def exact_number(text: str) -> float | Decimal:
    """Return a JSON number as a float, as a Decimal if no float comes back as the same number."""
    number = float(text)
    try:
        exact = Decimal(text)
    except ArithmeticError as error:  # an exponent beyond those that Decimal has
        raise ValueError("a number has too large an exponent") from error
    return number if math.isfinite(number) and Decimal(repr(number)) == exact else exact


@contextmanager
def exact_numbers() -> Iterator[None]:
    """Let ``decode`` return Decimals for numbers that no float holds exactly, in this process.

    For programs that print what others have pushed: ``xclaim`` on the command line.
    """
    global _quick_decode, _quick_decode_lines  # decode is too busy to look anywhere else
    before = _quick_decode, _quick_decode_lines
    exact = msgspec.json.Decoder(float_hook=exact_number)
    _quick_decode, _quick_decode_lines = exact.decode, exact.decode_lines
    try:
        yield
    finally:
        _quick_decode, _quick_decode_lines = before


def digest(value: Any) -> bytes:
    """Return SHA-256 of the JSON with sorted keys and no spaces; of equal values it is equal.

    Numbers are equal as jsonb has it, which gives ``1e16`` back as a whole number.
    """
    # Read again, and not walked through: by C, which goes as deep as any payload.
    whole = json.loads(_digest_encoder.encode(value), parse_float=_whole)
    return hashlib.sha256(_encoder.encode(whole).encode()).digest()


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def printed_size(text: str) -> int:
    """Return about how many bytes PostgreSQL prints for JSON: it writes 1e308 with all its zeros.

    The text of ``encode`` is the shortest one.
    """
    numbers = _TEXTS.sub("", text) if "e" in text else ""
    return len(text.encode()) + sum(map(int, _EXPONENTS.findall(numbers)))


def name_of(index: int) -> str:
    """Return what errors call the payload at this place of a batch."""
    return "payload" if index == 0 else f"payload {index}"


def encode_headers(headers: Mapping[str, Any] | None) -> str:
    """Return the headers as JSON text; none are ``{}``."""
    if headers is None:
        return "{}"
    if not isinstance(headers, Mapping):
        raise PayloadError(f"headers must be a mapping, not {type(headers).__name__}")
    text = encode(dict(headers), "headers").text
    if len(text) * 4 > MAX_HEADERS and len(text.encode()) > MAX_HEADERS:
        raise PayloadError(
            f"headers have {len(text.encode())} bytes, more than the {MAX_HEADERS} that a message "
            "may have: put them into the payload"
        )
    return text


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
