"""Engines of the dashboard: one for each connection, as long as that stays the same."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from xclaim import create_engine
from xclaim.web.routes import THREADS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.airflow.connections import Database

_MOST = 16  # connections whose engines are kept; others are opened anew when somebody looks
_CONNECT_TIMEOUT = "5"  # seconds, in which a page says that there is no way to the database
# As many as there are threads, so that none waits for a connection; two are kept open.
_POOL = {"pool_size": 2, "max_overflow": THREADS - 2, "pool_timeout": 10}


class Engines:
    """Makes them when they are first asked for, and closes what is not needed any more."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Database, Engine]] = {}  # the one asked for last at the end
        self._lock = threading.Lock()

    def of(self, conn_id: str, database: Database) -> Engine:
        """Return the engine on the database that a connection leads to now.

        :param conn_id: of the connection.
        :param database: where it leads.
        """
        with self._lock:
            known = self._kept.pop(conn_id, None)
            if known is not None and known[0] != database:  # the connection was edited
                known[1].dispose()
                known = None
            self._kept[conn_id] = known or (database, _made(database))
            while len(self._kept) > _MOST:
                self._kept.pop(next(iter(self._kept)))[1].dispose()
            return self._kept[conn_id][1]


def _made(database: Database) -> Engine:
    url = database.url
    if url.get_backend_name() == "sqlite":
        return create_engine(url, **database.engine_options)
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": _CONNECT_TIMEOUT})
    return create_engine(url, **database.engine_options, **_POOL)
