"""The work and the ack commit together: the effect in that database happens exactly once.

`queue.transact()` yields the claim and a connection. What is written over that connection and the
ack are one transaction. If the task is killed, or has lost its claim, neither happened.

Needs the connection `xclaim_default`, to PostgreSQL or SQLite, and an upgraded schema.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from xclaim.airflow.hooks import XclaimHook

QUEUE = "payments"
CREATE = "CREATE TABLE IF NOT EXISTS ledger (payment bigint NOT NULL, amount integer NOT NULL)"
BOOK = "INSERT INTO ledger (payment, amount) VALUES (:payment, :amount)"


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def exactly_once_effect() -> None:
    """Push three payments and book each of them once."""

    @task
    def receive() -> None:
        XclaimHook().queue(QUEUE).push_many([{"amount": amount} for amount in (10, 20, 30)])

    @task
    def create_ledger() -> None:
        from sqlalchemy import text

        with XclaimHook().get_conn().begin() as connection:
            connection.execute(text(CREATE))

    @task
    def book() -> int:
        from sqlalchemy import text

        queue = XclaimHook().queue(QUEUE)
        booked = 0
        while True:
            with queue.transact() as (claimed, connection):
                if claimed is None:
                    return booked
                values = {"payment": claimed.message.id, "amount": claimed.payload["amount"]}
                connection.execute(text(BOOK), values)
            booked += 1

    [receive(), create_ledger()] >> book()


exactly_once_effect()
