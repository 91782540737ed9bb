"""The databases that the dashboard shows inside Airflow: those of its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.airflow.dashboard import api_server
from xclaim.airflow.dashboard.access import user_in
from xclaim.airflow.dashboard.databases import Databases
from xclaim.airflow.dashboard.engines import Engines
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.payload_settings import payloads_of
from xclaim.web import AccessDeniedError, Place

if TYPE_CHECKING:
    from xclaim.web import Person

_DEFAULT = XclaimHook.default_conn_name


class ConnectionPlaces:
    """The connections of type xclaim that a user may read.

    And of any type that the hook takes: ``xclaim_default``, or its places if it has only these, and
    those that ``[xclaim] dashboard_connections`` names. Rights are asked of the auth manager with
    each page; where a connection leads is remembered for some seconds.
    """

    def __init__(self) -> None:
        self._databases = Databases()
        self._engines = Engines()

    def names(self, person: Person) -> list[str]:
        """Return the ids of the connections, the default first.

        :param person: who asks.
        :raises AccessDeniedError: they may read none.
        """
        offered = self._offered()
        allowed = api_server.readable_connections(user_in(person), offered)
        readable = [conn_id for conn_id in offered if conn_id in allowed]
        if not readable:
            raise _refused(person, offered)
        return readable

    def open(self, name: str, person: Person) -> Place:
        """Return the database of a connection.

        Who may edit the connection may act and see payloads: they could as well have its password.

        :param name: one of ``names``.
        :param person: who asks.
        :raises AccessDeniedError: they may not read it, or it is none of those.
        :raises InvalidArgumentError: ``[xclaim] dashboard_timeout`` is no time.
        :raises DatabaseUrlError: there is no such connection, or it leads to no database of ours.
        """
        # Whoever calls has asked for ``names``, but this is the door.
        if name not in self._offered() or not _may(person, "GET", name):
            raise _refused(person, [name])
        database = self._databases.of(name)
        may_edit = _may(person, "PUT", name)
        return Place(
            name=name,
            engine=self._engines.of(name, database),
            schema=database.schema,
            payloads=payloads_of(database.payload_options, {}),
            may_act=may_edit,
            may_see_payloads=may_edit,
            timeout=api_server.look_timeout(),
        )

    def _offered(self) -> list[str]:
        listed = api_server.connections_of(XclaimHook.conn_type) | {*api_server.named_connections()}
        others = sorted(listed - {_DEFAULT})
        # Without any other it is offered all the same: its page says how it is made.
        if others and _DEFAULT not in listed and not api_server.is_listed(_DEFAULT):
            return others
        return list(dict.fromkeys([*self._databases.instead_of(_DEFAULT), *others]))


def _may(person: Person, method: api_server.Method, conn_id: str) -> bool:
    return api_server.may_use_connection(user_in(person), conn_id, method)


def _refused(person: Person, conn_ids: list[str]) -> AccessDeniedError:
    what = (
        "may read none of the connections" if len(conn_ids) > 1 else "may not read the connection"
    )
    return AccessDeniedError(
        403,
        f"You ({person.name}) {what} {', '.join(conn_ids)}. Ask whoever gives rights in Airflow "
        "for the right “can read” on “Connections”.",
        sign_in=api_server.sign_in(),
    )
