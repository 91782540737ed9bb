"""Who listens for pushes, as the server says it."""

from __future__ import annotations

from sqlalchemy import Engine, text


def listens(engine: Engine) -> list[int]:
    """Return the backends that wait for notifications in this database."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle' AND query = 'LISTEN xclaim'"
    )
    with engine.connect() as connection:
        return list(connection.scalars(text(query)))
