"""How payloads are stored, as Airflow says it: extras of a connection, Airflow's connections, keys.

Core knows nothing of ``s3://conn_id@bucket``: here it becomes Airflow's ObjectStoragePath.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.payloads import Payloads

STORAGE_EXTRAS = (
    "xclaim_storage",
    "xclaim_storage_threshold",
    "xclaim_storage_options",
    "xclaim_encryption",
)
_AZURE = ("abfs", "abfss", "wasb", "wasbs")


def payloads_of(conn_id: str, extras: Mapping[str, Any]) -> Payloads | None:
    """Return how a connection's extras say that payloads are stored; None if they say nothing.

    :param conn_id: of the connection, for errors.
    :param extras: all of its extras.
    :raises InvalidArgumentError: an extra is wrong, which it names.
    """
    given = {name: extras[name] for name in STORAGE_EXTRAS if extras.get(name) not in (None, "")}
    if not given:
        return None
    from xclaim.payloads.options import THRESHOLD, threshold_of
    from xclaim.payloads.payloads import Payloads
    from xclaim.payloads.stores.storage import Storage

    try:
        location, options = given.get("xclaim_storage"), given.get("xclaim_storage_options", {})
        if not isinstance(options, dict):
            raise InvalidArgumentError("xclaim_storage_options is no JSON object")
        storage = None if location is None else Storage(place(str(location)), options=options)
        return Payloads(
            storage=storage,
            threshold=threshold_of(
                "xclaim_storage_threshold", given.get("xclaim_storage_threshold", THRESHOLD)
            ),
            keys=keys_of("xclaim_encryption", str(given.get("xclaim_encryption", ""))),
        )
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"the extra of connection {conn_id!r}: {error}") from error


def place(location: str) -> Any:
    """Return what to pass to ``Storage``: with ``conn_id@`` in it a path that asks Airflow.

    :param location: a URL.
    """
    parts = urlsplit(location)
    if parts.scheme in _AZURE and "." in (parts.hostname or ""):
        return location  # abfs://container@account.dfs.core.windows.net
    if "@" not in parts.netloc:
        return location
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(location)


def keys_of(option: str, choice: str) -> Keys | None:
    """Return the keys to encrypt with: none, Airflow's own, or those in XCLAIM_FERNET_KEYS.

    :param option: what it is called, for errors.
    :param choice: empty, ``airflow`` or ``xclaim``.
    :raises InvalidArgumentError: it is neither, or the keys are not there.
    """
    from xclaim.payloads.layers.encryption import Keys

    match choice:
        case "":
            return None
        case "airflow":
            from airflow.sdk.configuration import conf

            keys = conf.get("core", "fernet_key", fallback="")
            if not keys:
                raise InvalidArgumentError(f"{option} is airflow, and [core] fernet_key is empty")
            return Keys(keys)
        case "xclaim":
            found = Keys.from_environment()
            if found is None:
                raise InvalidArgumentError(f"{option} is xclaim, and XCLAIM_FERNET_KEYS is not set")
            return found
    raise InvalidArgumentError(f"{option} must be empty, airflow or xclaim, not {choice!r}")
