"""How payloads are stored, as Airflow says it: extras of a connection, Airflow's connections, keys.

Each setting is the connection's; where its extras do not give it that of the environment; for
``exclusive()`` at last that of ``[xclaim] xcom_...``. So none takes another one away.

Core knows nothing of ``s3://conn_id@bucket``: here it becomes Airflow's ObjectStoragePath.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from xclaim.payloads.layers.encryption import Keys
    from xclaim.payloads.payloads import Payloads
    from xclaim.payloads.stores.storage import Storage

STORAGE_EXTRAS = (
    "xclaim_storage",
    "xclaim_storage_threshold",
    "xclaim_storage_options",
    "xclaim_max_in_row",
    "xclaim_encryption",
    "xclaim_allow_unencrypted",
)
_AZURE = ("abfs", "abfss", "wasb", "wasbs")
_AIRFLOW_CALLS_IT = {"wasb": "abfs", "wasbs": "abfss"}


def options_of(conn_id: str, extras: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of ``Payloads`` that a connection's extras give, and no others.

    :param conn_id: of the connection, for errors.
    :param extras: all of its extras.
    :raises InvalidArgumentError: an extra is wrong, which it names.
    """
    names = [name for name in STORAGE_EXTRAS if extras.get(name) not in (None, "", {})]
    given = {name: extras[name] for name in names}
    try:
        return dict(_options(given)) if given else {}
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"the extra of connection {conn_id!r}: {error}") from error


def payloads_of(given: Mapping[str, Any], fallback: Mapping[str, Any]) -> Payloads:
    """Return how payloads are stored: each option as the first says that says anything of it.

    :param given: options of ``Payloads`` that come before those of the environment.
    :param fallback: options that come after them.
    """
    from xclaim.payloads.payloads import Payloads, options_of_environment

    if not given and not fallback:
        return Payloads.by_default()
    return Payloads(**{**fallback, **options_of_environment(), **given})


def _options(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    from xclaim.payloads.options import bytes_of, switch_of

    if "xclaim_storage" in given or "xclaim_storage_options" in given:
        yield "storage", _storage(given)
    if (name := "xclaim_storage_threshold") in given:
        yield "threshold", bytes_of(name, given[name])
    if (name := "xclaim_max_in_row") in given:
        yield "max_in_row", bytes_of(name, given[name], least=1)
    if (name := "xclaim_encryption") in given:
        yield "keys", keys_of(name, str(given[name]))
    if (name := "xclaim_allow_unencrypted") in given:
        yield "allow_unencrypted", switch_of(name, given[name])


def _storage(given: Mapping[str, Any]) -> Storage:
    from xclaim.payloads.stores.storage import Storage

    location, options = given.get("xclaim_storage"), given.get("xclaim_storage_options", {})
    if not isinstance(options, dict):
        raise InvalidArgumentError("xclaim_storage_options is no JSON object")
    if location is None:
        raise InvalidArgumentError("xclaim_storage_options needs xclaim_storage, which they are of")
    return Storage(place(str(location)), options=options)


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

    scheme = _AIRFLOW_CALLS_IT.get(parts.scheme, parts.scheme)
    return ObjectStoragePath(parts._replace(scheme=scheme).geturl())


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
            from xclaim.airflow.versions import conf

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
