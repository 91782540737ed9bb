"""The auth manager of the Airflow of the tests, which it must be able to import."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


class ObservingUsers(SimpleAuthManager):
    """The Simple auth manager, but a user reads connections, and edits none.

    The Simple one has no role that may do the one and not the other; others have.
    """

    def is_authorized_connection(
        self,
        *,
        method: ResourceMethod,
        user: SimpleAuthManagerUser,
        details: ConnectionDetails | None = None,
    ) -> bool:
        if method == "GET" and user.role == "user":
            return True
        return super().is_authorized_connection(method=method, user=user, details=details)
