"""Pools that say what to do when all their connections are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from xclaim import errors
from xclaim.errors import DatabaseUrlError

if TYPE_CHECKING:
    from sqlalchemy import URL, PoolProxiedConnection

# A place for each worker at a time, opened when it is needed and kept. An overflow would be opened
# and closed again for each verb. PostgreSQL allows 97 by default.
_PLACES = {"pool_size": 96, "max_overflow": 0, "pool_use_lifo": True}
_ONE = {"pool_size": 1, "max_overflow": 0}  # each would be a database of its own
_IN_URL = "pool_size"


class NoConnectionError(errors.NoConnectionError, exc.TimeoutError):
    """As SQLAlchemy's users know it, too: what handles its errors handles this one."""


class PatientPool(QueuePool):
    """A pool whose error names how many places it has, and how it is given more."""

    # What pools log stays in SQLAlchemy's log, where `echo_pool` and people look for it: by the
    # name of the module it would be lines of ours.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.QueuePool"

    def connect(self) -> PoolProxiedConnection:
        """Return a connection. Raise NoConnectionError if none came free in time."""
        try:
            return super().connect()
        except exc.TimeoutError as error:
            places = self.size() + self.overflow()
            raise NoConnectionError(places, self.timeout()) from error


class AsyncPatientPool(PatientPool, AsyncAdaptedQueuePool):
    """The same for asyncio."""

    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"


def pool_options(
    url: URL, options: dict[str, Any], *, is_in_memory: bool, is_async: bool = False
) -> tuple[URL, dict[str, Any]]:
    """Return the URL without the size of its pool, and the options of an engine with the pool.

    A pool class that is given stays. Raise DatabaseUrlError for a size that is none.
    """
    given, of_url = url.query.get(_IN_URL), {}
    if given is not None:
        url = url.difference_update_query([_IN_URL])
        of_url = {"pool_size": _size_in(given, is_in_memory=is_in_memory)}
    if {"poolclass", "pool"} & options.keys():
        return url, options
    places = _ONE if is_in_memory else _PLACES
    pool = AsyncPatientPool if is_async else PatientPool
    return url, {"poolclass": pool, **places, **of_url, **options}


def _size_in(given: Any, *, is_in_memory: bool) -> int:
    if is_in_memory:
        raise DatabaseUrlError(
            "pool_size in the database URL is for a database that several connections share: a "
            "SQLite database in memory has one, leave it out"
        )
    if not str(given).isdecimal() or not str(given).isascii() or int(given) < 1:
        raise DatabaseUrlError(
            f"pool_size={given} in the database URL must be how many connections this process may "
            "have, 1 or more"
        )
    return int(given)
