"""Assets of the scheme ``xclaim``: a queue, as ``xclaim://host:port/database/queue``.

Of a SQLite file ``xclaim://file/path/queue``, the path with its slashes encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk import Asset
    from sqlalchemy import URL

SCHEME = "xclaim"
_DEFAULT_PORT = 5432
_FILE = "file"


def queue_uri(url: URL, queue: str) -> str:
    """Return the URI of a queue; without user, password and options.

    :param url: the database's.
    :param queue: the queue's name.
    """
    database = quote(url.database or "", safe="")
    return f"{SCHEME}://{_place(url.host, url.port)}/{database}/{quote(queue, safe='')}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the URI in its one form: with the port, and nothing after the queue.

    :raises ValueError: it does not name a database and a queue.
    """
    database, _, queue = uri.path.lstrip("/").partition("/")
    if not database or not queue or "/" in queue:
        raise ValueError(
            f"an xclaim asset is xclaim://host:port/database/queue, not {uri.geturl()!r}"
        )
    return uri._replace(netloc=_place(uri.hostname, uri.port), query="", fragment="")


def create_asset(
    *,
    host: str = "",
    port: int = _DEFAULT_PORT,
    database: str,
    queue_name: str,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """Return the asset of a queue.

    :param host: of PostgreSQL; empty for a SQLite file.
    :param port: of PostgreSQL.
    :param database: its name, or the file's path.
    :param queue_name: the queue's name.
    :param extra: kept with the asset.
    """
    from airflow.sdk import Asset

    path = f"{quote(database, safe='')}/{quote(queue_name, safe='')}"
    return Asset(uri=f"{SCHEME}://{_place(host, port)}/{path}", extra=extra)


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001
    """Return the dataset that OpenLineage is to know a queue by.

    :param asset: the queue's, with a sanitized URI.
    :param lineage_context: the hook that reported it, if one did.
    """
    return openlineage_dataset(asset.uri)


def openlineage_dataset(uri: str) -> Dataset:
    """Return the dataset of a queue: namespace and name are the two halves of the asset's URI.

    A queue, and not the table: all queues share one table, and each task that pushes would lead to
    each that claims.

    :param uri: of the asset.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(uri)
    return Dataset(namespace=f"{SCHEME}://{parts.netloc}", name=parts.path.lstrip("/"))


def _place(host: str | None, port: int | None) -> str:
    return f"{host}:{port or _DEFAULT_PORT}" if host and host != _FILE else _FILE
