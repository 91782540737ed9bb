"""JSON with tags for what JSON lacks, such as dates, decimals, sets, bytes and dataclasses.

A value of such a type stands as ``{"$": "decimal", "value": "1.10"}``; all else is plain JSON. A
dict that has the key ``$`` itself, or keys that are not text, is tagged, too: nothing is mistaken
for a tag. Decoding makes values of a closed list of types, and instances of those that the reader
has allowed. It never runs their code, and imports only modules that the reader has allowed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, BinaryIO

from xclaim.arguments import refuse_constant
from xclaim.errors import PayloadCorruptedError, XclaimError
from xclaim.payloads.codecs.allowed_types import Allowed
from xclaim.payloads.codecs.tagging import ENCODERS, Encoding, encoder
from xclaim.payloads.codecs.untagging import Decoding, said

_KNOWN = (*ENCODERS, Enum)


class TypedJson:
    """The codec ``json-types``. ``allowed`` are the dataclasses and enums that may be read.

    Each of them is the class itself, or a text: ``"shop.orders:Order"``, ``"shop.orders:*"``, or
    ``"shop.*"`` for all modules of a package. A text lets a payload import the module it names.
    """

    name = "json-types"

    def __init__(self, allowed: Sequence[type | str] = ()) -> None:
        self._allowed = Allowed(allowed)

    def accepts(self, value: Any) -> bool:
        """Return whether the value itself is of a known type; what is in it is seen later."""
        if isinstance(value, bytes | bytearray):  # larger here than as they are
            return False
        return isinstance(value, _KNOWN) or (is_dataclass(value) and not isinstance(value, type))

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the value as UTF-8, keys sorted: equal values are equal bytes."""
        tagged = self.to_json(value)
        file.write(encoder.encode(tagged).encode())

    def decode(self, file: BinaryIO) -> Any:
        """Return the value. Raise PayloadCorruptedError for what ``encode`` does not write."""
        try:
            tagged = json.loads(file.read().decode(), parse_constant=refuse_constant)
        except (RecursionError, ValueError) as error:
            raise PayloadCorruptedError(
                f"the payload is not JSON of the codec {self.name!r} ({said(error)}): "
                "it was changed after it was pushed"
            ) from error
        return self.from_json(tagged)

    def to_json(self, value: Any) -> Any:
        """Return the value as plain JSON with tags. Raise PayloadError naming what has none."""
        encoding = Encoding(self._allowed)
        try:
            return encoding.tagged(value)
        except RecursionError:
            encoding.refuse_depth()

    def from_json(self, tagged: Any) -> Any:
        """Return the value that ``to_json`` described.

        Raise PayloadCorruptedError for anything else, and PayloadRefusedError for a type that is
        not allowed here.
        """
        decoding = Decoding(self._allowed)
        try:
            return decoding.value(tagged)
        except XclaimError:
            raise
        # Whatever hostile JSON makes the constructors of the standard library raise.
        except (ArithmeticError, AttributeError, LookupError, RecursionError) as error:
            decoding.refuse(error)
        except (TypeError, ValueError) as error:
            decoding.refuse(error)
