"""Who asks for a page of the dashboard: the user that Airflow's auth manager knows."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException

from xclaim.airflow.dashboard import api_server
from xclaim.web import AccessDeniedError, Person

if TYPE_CHECKING:
    from starlette.requests import Request

_logger = logging.getLogger(__name__)
_DAG = "dag"  # in the address of a tab


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowUser(Person):
    """A person with the user that the auth manager is asked about.

    What they may do depends on the connection, and is asked when it is opened.
    """

    user: Any


class AirflowAccess:
    """Lets in whom Airflow lets in. What cannot be told is refused."""

    async def identify(self, request: Request) -> Person:
        """Return the user of the request.

        The tab of a DAG is only for who may read the task instances of that DAG.

        :param request: for a page of the dashboard.
        :raises AccessDeniedError: nobody asks whom Airflow knows, or they may not see that DAG.
        """
        try:
            user = await api_server.user_of(request)
            person = AirflowUser(
                name=_name_of(user), may_act=True, may_see_payloads=True, user=user
            )
            for dag_id in request.query_params.getlist(_DAG):
                if not await run_sync(api_server.may_read_tasks, user, dag_id):
                    raise AccessDeniedError(
                        403,
                        f"You ({person.name}) may not read the task instances of this DAG.",
                        sign_in=api_server.sign_in(),
                    )
        except AccessDeniedError:
            raise
        except HTTPException as error:  # Airflow's own answer
            raise _denied(error) from None
        except Exception as error:  # noqa: BLE001  (an auth manager may be anybody's)
            _logger.error(  # without its text and traceback, which may have the token
                "who asks for the dashboard cannot be told: %s at %s",
                type(error).__qualname__,
                _where(error),
            )
            raise AccessDeniedError(
                403, "Airflow could not tell who asks: the log of the API server says why"
            ) from None
        return person


def user_in(person: Person) -> Any:
    """Return the user that the auth manager is asked about.

    :param person: as ``AirflowAccess`` returned it.
    :raises AccessDeniedError: it has not.
    """
    if not isinstance(person, AirflowUser):
        raise AccessDeniedError(403, "Airflow could not tell who asks")
    return person.user


def _name_of(user: Any) -> str:
    name = user.get_name()
    if not isinstance(name, str) or not name:
        raise TypeError("the user has no name")
    return name


def _denied(error: HTTPException) -> AccessDeniedError:
    if error.status_code == 401:  # noqa: PLR2004
        text = "You are not signed in to Airflow, or no longer: sign in, and come back."
        return AccessDeniedError(401, text, sign_in=api_server.sign_in())
    text = "Airflow does not accept this sign-in: sign in again."
    return AccessDeniedError(403, text, sign_in=api_server.sign_in())


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
