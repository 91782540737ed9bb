"""What stays readable in the row of an encrypted payload."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import text

from xclaim import Payloads, Queue, create_engine

SECRET = "DE02 1203 0000 0000 2020 51"


def test_all_but_the_payload_of_an_encrypted_message_stays_in_clear(database_url: str) -> None:
    engine = create_engine(database_url)
    payloads = Payloads(keys=[Fernet.generate_key().decode()])
    with Queue("orders", engine, payloads=payloads) as queue:
        queue.push({"iban": SECRET}, unique_key="order 7", priority=3, headers={"dag_id": "shop"})
        (claim,) = queue.claim_many(1, claimed_by="worker")
        queue.release(claim, error="no such customer")

    with closing(engine.connect()) as connection:
        row: dict[str, Any] = dict(
            connection.execute(text("SELECT * FROM xclaim_message")).mappings().one()
        )

    engine.dispose()
    assert SECRET not in str(row)
    assert (row["queue"], row["unique_key"], row["priority"]) == ("orders", "order 7", 3)
    assert row["last_error"] == "no such customer"
    assert "shop" in str(row["headers"])
    assert "worker" in str(row["failures"])
