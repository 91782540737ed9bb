"""Where connections lead: asked of Airflow's secrets, and remembered for some seconds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from xclaim.airflow.connections import database_of, missing_or_stored
from xclaim.airflow.dashboard import api_server

if TYPE_CHECKING:
    from xclaim.airflow.connections import Database

# A secrets backend is another server, and a page asks several times while somebody looks at it:
# for what changes, for the rows in view, at each pause in typing.
KEPT_FOR = 10.0  # seconds


class Databases:
    """Asks for a connection when it is not known from some seconds ago.

    It says nothing of who may read it: that is asked each time, before.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Database]] = {}
        self._lock = threading.Lock()

    def of(self, conn_id: str) -> Database:
        """Return where the connection leads.

        :param conn_id: of the connection.
        :raises DatabaseUrlError: there is none, or it leads to no database of ours.
        """
        with self._lock:
            known = self._kept.get(conn_id)
        if known is not None and time.monotonic() - known[0] < KEPT_FOR:
            return known[1]
        connection = api_server.connection(conn_id)
        if connection is None:
            raise missing_or_stored(conn_id)
        database = database_of(connection, conn_id)
        now = time.monotonic()
        with self._lock:
            fresh = {id_: kept for id_, kept in self._kept.items() if now - kept[0] < KEPT_FOR}
            self._kept = {**fresh, conn_id: (now, database)}
        return database
