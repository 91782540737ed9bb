"""Airflow's serde as a codec, for whatever Airflow can put into an XCom."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from xclaim.errors import PayloadCorruptedError, PayloadError

_NAMES = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")


class PlainJson:
    """JSON that is the value itself, as it is read back."""

    name = "json"

    def accepts(self, value: Any) -> bool:
        """Return False: whether a value is plain JSON is known only when it is encoded."""
        return False

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the value."""
        file.write(json.dumps(value).encode())

    def decode(self, file: BinaryIO) -> Any:
        """Return the value. Raise PayloadCorruptedError if it is no JSON."""
        return _loaded(file)


class AirflowSerde:
    """Objects of classes, as Airflow's serde writes them: dataclasses, attrs, pydantic models.

    For a queue: ``Payloads(codecs=[AirflowSerde()])``. Decoding imports only classes that the user
    allows by ``[core] allowed_deserialization_classes``, and runs no constructor of theirs; what
    Airflow allows by default does not count.
    """

    name = "airflow-serde"

    def accepts(self, value: Any) -> bool:
        """Return whether it is such an object; all others have codecs of their own."""
        kind = type(value)
        return any(hasattr(kind, name) for name in _NAMES)

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the value. Raise PayloadError if serde does not know it."""
        from xclaim.airflow.versions import serde

        try:
            text = json.dumps(serde.serialize(value))
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise PayloadError(f"Airflow's serde cannot write the payload: {error}") from error
        file.write(text.encode())

    def decode(self, file: BinaryIO) -> Any:
        """Return the value.

        Raise PayloadCorruptedError if it is no JSON, and PayloadRefusedError for a class that is
        not allowed.
        """
        from xclaim.airflow.xcom.serde_values import value_of

        return value_of(_loaded(file))


class XComSerde(AirflowSerde):
    """The same for an XCom's object, which is read as Airflow reads every XCom.

    Who may write an XCom decides what Airflow's own serde makes of it, wherever it lies.
    """

    def decode(self, file: BinaryIO) -> Any:
        """Return the value. Raise PayloadCorruptedError if it is no JSON.

        What serde itself refuses, a class that is not allowed say, it says itself.
        """
        from xclaim.airflow.versions import serde

        return serde.deserialize(_loaded(file))


def _loaded(file: BinaryIO) -> Any:
    try:
        return json.load(file)
    except (RecursionError, ValueError) as error:
        raise PayloadCorruptedError(f"the payload is not JSON ({error})") from error
