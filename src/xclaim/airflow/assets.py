"""Assets of the scheme ``xclaim``: a queue, as ``xclaim://host:port/database/queue``.

Of a SQLite file ``xclaim://file/path/queue``, the path with its slashes encoded; of a PostgreSQL
that is reached through a Unix socket the socket's folder stands for the host, likewise encoded. A
queue has one such URI, so that it is one dataset to whoever reads lineage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk import Asset
    from sqlalchemy import URL

SCHEME = "xclaim"
_DEFAULT_PORT = 5432
_FILE = "file"  # and no port: a host may have the same name
_LOCAL = "localhost"  # where PostgreSQL is looked for that has no host
_WITH_PORT = re.compile(r"(\[.*\]|[^:]*)(?::(\d*))?")


def queue_uri(url: URL, queue: str) -> str:
    """Return the URI of a queue; without user, password and options.

    :param url: the database's.
    :param queue: the queue's name.
    """
    if url.get_backend_name() == "sqlite":
        return _uri(_FILE, url.database or ":memory:", queue)
    # PostgreSQL's own default is the database of the user's name.
    database = url.database or url.username or "postgres"
    return _uri(_hosts(url.host or _LOCAL, url.port), database, queue)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the URI in its one form: with the port, and nothing after the queue.

    :raises ValueError: it does not name a database and a queue.
    """
    database, _, queue = uri.path.lstrip("/").partition("/")
    if not database or not queue or "/" in queue:
        raise ValueError(
            f"an xclaim asset is xclaim://host:port/database/queue, not {uri.geturl()!r}"
        )
    hosts = uri.netloc.rpartition("@")[2]
    place = _FILE if hosts.lower() in ("", _FILE) else _hosts(hosts, None, unquote)
    return urlsplit(_uri(place, unquote(database), unquote(queue)))


def create_asset(
    *,
    host: str = "",
    port: int = _DEFAULT_PORT,
    database: str,
    queue_name: str,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """Return the asset of a queue.

    :param host: of PostgreSQL, or the folder of its Unix socket; empty for a SQLite file.
    :param port: of PostgreSQL.
    :param database: its name, or the file's path.
    :param queue_name: the queue's name.
    :param extra: kept with the asset.
    """
    from airflow.sdk import Asset

    place = _FILE if host in ("", _FILE) else _hosts(host, port)
    return Asset(uri=_uri(place, database, queue_name), extra=extra)


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


def _uri(place: str, database: str, queue: str) -> str:
    return f"{SCHEME}://{place}/{quote(database, safe='')}/{quote(queue, safe='')}"


def _hosts(hosts: str, port: int | None, read: Callable[[str], str] = str) -> str:
    """Return each of the hosts with its port: libpq takes several, with a comma between.

    ``read`` takes a host out of how it is written.
    """
    names = hosts.split(",")
    written = []
    for each in names:
        found = None if each.startswith("/") else _WITH_PORT.fullmatch(each)
        name, said = found.groups() if found else (each, None)
        shown = _shown_host(read(name), is_alone=len(names) == 1)
        written.append(f"{shown}:{said or port or _DEFAULT_PORT}")
    return ",".join(written)


def _shown_host(name: str, *, is_alone: bool) -> str:
    if name.startswith("/"):  # the folder of a socket: its case matters
        return quote(name, safe="")
    name = name.strip("[]").lower()
    if ":" in name and is_alone:  # urlsplit takes no brackets after another host
        return f"[{quote(name, safe=':')}]"
    return quote(name, safe="")
