"""What Airflow's API server knows: who asks, what they may do, and which connections there are.

Everything here is Airflow's own and promised by nobody, so no other module of the dashboard imports
Airflow. It asks as the API server's own routes do, through the interface of every auth manager.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit

from xclaim.airflow.versions import AirflowNotFoundException, ServerStats

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import (
    ConnectionDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models import Connection
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from sqlalchemy import select

from xclaim.airflow.connections import EXPORTED, is_stored
from xclaim.airflow.provider import DASHBOARD
from xclaim.errors import InvalidArgumentError
from xclaim.observing.observer import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from xclaim.airflow.connections import ConnectionLike

__all__ = [
    "Method",
    "ServerStats",
    "base_path",
    "connection",
    "connections_of",
    "is_listed",
    "is_set",
    "look_timeout",
    "may_read_tasks",
    "may_use_connection",
    "named_connections",
    "readable_connections",
    "secret",
    "sign_in",
    "user_of",
]

Method = Literal["GET", "PUT"]

_MOST = 500  # more connections of one type nobody looks through


async def user_of(request: Request) -> Any:
    """Return the user who sent the request, of the auth manager's own class.

    By the Bearer token, else by the cookie of Airflow's UI.

    :param request: to a page of the dashboard.
    :raises HTTPException: there is no token, or it is not valid.
    """
    return await get_user(request, None, await bearer_scheme(request))


def may_use_connection(user: Any, conn_id: str, method: Method) -> bool:
    """Return whether the user may read (GET) or edit (PUT) a connection.

    :param user: as ``user_of`` returned it.
    :param conn_id: of the connection.
    :param method: what of it.
    """
    details = ConnectionDetails(conn_id=conn_id, team_name=_team_of(conn_id))
    return bool(
        get_auth_manager().is_authorized_connection(method=method, details=details, user=user)
    )


def readable_connections(user: Any, conn_ids: Sequence[str]) -> set[str]:
    """Return those of the connections that the user may read: one question, if there are no teams.

    :param user: as ``user_of`` returned it.
    :param conn_ids: of the connections.
    """
    manager: Any = get_auth_manager()
    if not hasattr(manager, "filter_authorized_connections"):  # Airflow 3.1
        return {conn_id for conn_id in conn_ids if may_use_connection(user, conn_id, "GET")}
    by_team: dict[str | None, set[str]] = {}
    for conn_id in conn_ids:
        by_team.setdefault(_team_of(conn_id), set()).add(conn_id)
    readable: set[str] = set()
    for team, ids in by_team.items():
        readable |= manager.filter_authorized_connections(
            conn_ids=ids, user=user, method="GET", team_name=team
        )
    return readable


def may_read_tasks(user: Any, dag_id: str) -> bool:
    """Return whether the user may read the task instances of a DAG.

    :param user: as ``user_of`` returned it.
    :param dag_id: of the DAG.
    """
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.TASK_INSTANCE, details=details, user=user
        )
    )


def connections_of(conn_type: str) -> set[str]:
    """Return the ids of the connections of a type that can be listed.

    Those are in Airflow's database and in the environment. A secrets backend lists nothing.

    :param conn_type: of the connections.
    """
    with create_session() as session:
        statement = select(Connection.conn_id).where(Connection.conn_type == conn_type)
        stored = set(session.scalars(statement.order_by(Connection.conn_id).limit(_MOST)))
    return stored | {
        name.removeprefix(EXPORTED).lower()
        for name in list(os.environ)  # the button Test puts one in and takes it out
        if name.startswith(EXPORTED) and _type_of(os.environ.get(name, "")) == conn_type
    }


def is_listed(conn_id: str) -> bool:
    """Return whether there is such a connection, of any type, in Airflow's database or exported.

    :param conn_id: of the connection.
    """
    return f"{EXPORTED}{conn_id.upper()}" in os.environ or is_stored(conn_id)


def connection(conn_id: str) -> ConnectionLike | None:
    """Return the connection, wherever Airflow finds it; None if nowhere.

    :param conn_id: of the connection.
    """
    try:
        found: ConnectionLike = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        return None
    return found


def named_connections() -> list[str]:
    """Return the ids in ``[xclaim] dashboard_connections``."""
    names = conf.get("xclaim", "dashboard_connections", fallback="") or ""
    return [name.strip() for name in names.split(",") if name.strip()]


def look_timeout() -> timedelta:
    """Return how long a look may take: ``[xclaim] dashboard_timeout``.

    :raises InvalidArgumentError: it is no number of seconds.
    """
    given = conf.get("xclaim", "dashboard_timeout", fallback="") or TIMEOUT.total_seconds()
    try:
        return timedelta(seconds=float(given))
    except (ValueError, OverflowError):
        raise InvalidArgumentError(
            f"[xclaim] dashboard_timeout is {given!r}: write seconds, such as 10"
        ) from None


def is_set(option: str) -> bool:
    """Return whether an option of ``[xclaim]`` is set to true.

    :param option: its name.
    :raises AirflowConfigException: it is neither true nor false.
    """
    return bool(conf.getboolean("xclaim", option, fallback=False))


def secret() -> bytes:
    """Return what all processes of the API server know and nobody else."""
    return str(get_signing_key("api", "secret_key")).encode()


def base_path() -> str:
    """Return the path under which Airflow's UI is, with a slash at its end."""
    path = urlsplit(conf.get("api", "base_url", fallback="") or "").path.strip("/")
    return f"/{path}/" if path else "/"


def sign_in() -> str:
    """Return the address at which one signs in, and then comes to the dashboard in the UI."""
    query = urlencode({"next": f"{base_path()}plugin/{DASHBOARD}"})
    return f"{base_path()}api/v2/auth/login?{query}"


def _team_of(conn_id: str) -> str | None:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    team: str | None = Connection.get_team_name(conn_id)
    return team


def _type_of(exported: str) -> str | None:
    """Return the type of a connection that the environment has, as a URI or as JSON."""
    if not exported.lstrip().startswith("{"):
        return exported.partition(":")[0].replace("-", "_")
    try:
        return str(json.loads(exported).get("conn_type"))
    except (ValueError, RecursionError):
        return None
