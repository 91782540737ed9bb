"""Where connections lead: asked of Airflow's secrets, and remembered for some seconds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from xclaim.airflow.versions import AirflowException

from xclaim.airflow.connections import database_of, missing_or_stored, places_of
from xclaim.airflow.dashboard import api_server
from xclaim.errors import DatabaseUrlError, XclaimError

if TYPE_CHECKING:
    from xclaim.airflow.connections import ConnectionLike, Database

# A secrets backend is another server, and a page asks several times while somebody looks at it:
# for what changes, for the rows in view, at each pause in typing.
KEPT_FOR = 10.0  # seconds


class Databases:
    """Asks for a connection when it is not known from some seconds ago.

    It says nothing of who may read it: that is asked each time, before.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, ConnectionLike]] = {}
        self._lock = threading.Lock()

    def of(self, conn_id: str) -> Database:
        """Return where the connection leads.

        :param conn_id: of the connection.
        :raises DatabaseUrlError: there is none, or it leads to no database of ours.
        """
        connection = self._connection(conn_id)
        if connection is None:
            raise missing_or_stored(conn_id)
        return database_of(connection, conn_id)

    def instead_of(self, conn_id: str) -> list[str]:
        """Return the connections to offer for one: if it only names places, these, else itself.

        :param conn_id: of the connection.
        """
        try:
            connection = self._connection(conn_id)
            places = {} if connection is None else places_of(connection, conn_id)
        except (XclaimError, AirflowException, ValueError):  # it offers itself: its page tells
            return [conn_id]
        if not places:
            return [conn_id]
        try:
            self.of(conn_id)
        except DatabaseUrlError:
            return list(dict.fromkeys(places.values()))
        return [conn_id]

    def _connection(self, conn_id: str) -> ConnectionLike | None:
        with self._lock:
            known = self._kept.get(conn_id)
        if known is not None and time.monotonic() - known[0] < KEPT_FOR:
            return known[1]
        connection = api_server.connection(conn_id)
        if connection is None:
            return None
        now = time.monotonic()
        with self._lock:
            fresh = {id_: kept for id_, kept in self._kept.items() if now - kept[0] < KEPT_FOR}
            self._kept = {**fresh, conn_id: (now, connection)}
        return connection
