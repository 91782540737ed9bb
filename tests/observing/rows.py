"""Messages as rows of their own making: of any status, age and name, also as only a hand writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, insert, text

from xclaim.sql.schema import message_table

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def now_of(engine: Engine) -> datetime:
    """Return the time by the database's clock."""
    if engine.dialect.name == "sqlite":
        return datetime.now(UTC)
    with engine.connect() as connection:
        return connection.execute(text("SELECT now()")).scalar_one().astimezone(UTC)  # type: ignore[no-any-return]


class Rows:
    """Adds messages to a database, with times that are so long ago."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = now_of(engine)

    def add(self, number: int = 1, **values: Any) -> None:
        """Add so many rows with these values, times as a duration ago."""
        row = {
            "queue": "orders",
            "created_at": values.get("available_at", MINUTE),
            "available_at": MINUTE,
            "payload": "{}",
            **values,
        }
        row.setdefault("origin_queue", row["queue"].removesuffix(".dead") or row["queue"])
        times = {name: self._time(value) for name, value in row.items()}
        with self.engine.begin() as connection:
            self._insert(connection, [dict(times) for _ in range(number)])

    def available(self, number: int = 1, *, ago: timedelta = MINUTE, **values: Any) -> None:
        """Add messages that can be claimed since so long."""
        self.add(number, available_at=ago, **values)

    def claimed(self, number: int = 1, *, left: timedelta = MINUTE, **values: Any) -> None:
        """Add claims whose leases last so long yet."""
        for _ in range(number):
            self.add(
                status="claimed",
                attempts=1,
                claimed_by="host:1",
                claim_token=uuid4(),
                **{"claimed_at": SECOND, "claim_expires_at": -left, **values},
            )

    def consumed(self, number: int = 1, *, ago: timedelta = MINUTE, **values: Any) -> None:
        """Add what was consumed so long ago, after a second of waiting and one of work."""
        times = {"available_at": ago + 2 * SECOND, "claimed_at": ago + SECOND, "consumed_at": ago}
        self.add(number, status="consumed", attempts=1, consumed_by="host:1", **{**times, **values})

    def dead(self, number: int = 1, *, ago: timedelta = HOUR, **values: Any) -> None:
        """Add dead letters of queue ``orders`` that died so long ago."""
        self.add(number, available_at=ago, attempts=20, **{"queue": "orders.dead", **values})

    def _time(self, value: Any) -> Any:
        return self.now - value if isinstance(value, timedelta) else value

    def _insert(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        if self.engine.dialect.name == "sqlite":
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, datetime):
                        row[name] = value.replace(tzinfo=None).isoformat(" ", "milliseconds")
            names = list(rows[0])
            values = ", ".join(f":{name}" for name in names)
            bound = [
                {
                    name: value.hex if isinstance(value, UUID) else value
                    for name, value in row.items()
                }
                for row in rows
            ]
            sql = f"INSERT INTO xclaim_message ({', '.join(names)}) VALUES ({values})"
            connection.execute(text(sql), bound)
        else:
            connection.execute(insert(message_table()), rows)
