"""What ``[xclaim]`` in Airflow's configuration says of the XCom backend.

Read with the first XCom of a process, so that importing the backend can fail nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from xclaim.airflow.payload_settings import keys_of, payloads_of, place
from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from xclaim import Payloads
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.options import Options
    from xclaim.payloads.stores.storage import Storage

FOLDERS = 5  # DAG, run, task, map index, key
FOLDER = "xcom"  # beside the payloads of queues, which may share the prefix
_SECTION = "xclaim"


@dataclass(frozen=True, slots=True, kw_only=True)
class XcomSettings:
    """The configuration, checked; nothing is connected yet.

    ``location`` is where objects lie; None keeps everything in the database.
    """

    location: str | None
    options: Mapping[str, Any]
    threshold: int
    compresses: bool
    keys: Keys | None

    def storage(self) -> Storage:
        """Return the storage of all XComs. Raise InvalidArgumentError if none is configured."""
        if self.location is None:
            raise InvalidArgumentError(
                "[xclaim] xcom_storage is not set: set it to where large XComs lie, for example "
                "s3://my_connection@bucket/prefix"
            )
        return _storage(f"{self.location}/{FOLDER}", json.dumps(self.options), FOLDERS)

    @property
    def payload_options(self) -> Options:
        """How all XComs are written and read."""
        from xclaim.payloads.options import Options

        return Options(
            storage=self.storage(),
            compression="zstd" if self.compresses else None,
            keys=self.keys,
            allow_unencrypted=True,  # small XComs never are, nor are those of before
        )

    @property
    def fallback(self) -> Mapping[str, Any]:
        """How values of ``exclusive()`` are stored, as options of ``Payloads``: as XComs are.

        Each option is for where neither the connection nor the environment gives it.
        """
        from xclaim.airflow.xcom.serde import AirflowSerde

        storage = None
        if self.location is not None:
            storage = _storage(self.location, json.dumps(self.options), 1)
        return {
            "storage": storage,
            "threshold": self.threshold,
            "compression": "zstd" if self.compresses else None,
            "keys": self.keys,
            "codecs": [AirflowSerde()],
        }

    @property
    def payloads(self) -> Payloads:
        """How values of ``exclusive()`` are stored behind a connection that says nothing of it."""
        return payloads_of({}, self.fallback)


@cache
def _storage(location: str, options: str, folders: int) -> Storage:
    from xclaim.payloads.stores.storage import Storage

    return Storage(place(location), options=json.loads(options), folders=folders)


@cache
def xcom_settings() -> XcomSettings:
    """Return what is configured. Raise InvalidArgumentError naming the option that is wrong."""
    from xclaim.payloads.options import THRESHOLD, bytes_of

    threshold = _text("xcom_threshold", str(THRESHOLD))
    return XcomSettings(
        location=_location(_text("xcom_storage")),
        options=_options(_text("xcom_storage_options")),
        threshold=bytes_of(f"[{_SECTION}] xcom_threshold", threshold),
        compresses=_compresses(_text("xcom_compression")),
        keys=keys_of(f"[{_SECTION}] xcom_encryption", _text("xcom_encryption")),
    )


def _text(option: str, default: str = "") -> str:
    from xclaim.airflow.versions import conf

    return str(conf.get(_SECTION, option, fallback=default) or default).strip()


def _location(text: str) -> str | None:
    return text.rstrip("/") or None


def _options(text: str) -> Mapping[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise _wrong("xcom_storage_options", f"is not JSON ({error})") from error
    if not isinstance(options, dict):
        raise _wrong("xcom_storage_options", "is not a JSON object")
    return options


def _compresses(text: str) -> bool:
    if text not in ("", "zstd"):
        raise _wrong("xcom_compression", f"must be empty or zstd, not {text!r}")
    return text == "zstd"


def _wrong(option: str, complaint: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"[{_SECTION}] {option} {complaint}")
