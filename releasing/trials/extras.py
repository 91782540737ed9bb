"""What a user does with the extras without Airflow: PostgreSQL, types, tables, storage, keys."""

from pathlib import Path

import adlfs  # noqa: F401  (the extra `azure` brings it)
import gcsfs  # noqa: F401  (the extra `gcs` brings it)
import pyarrow as pa
import s3fs  # noqa: F401  (the extra `s3` brings it)
from cryptography.fernet import Fernet
from pydantic import BaseModel

import xclaim
from xclaim import Payloads, Queue, Storage
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate


class Order(BaseModel):
    """What a typed queue holds."""

    id: int


def main() -> None:
    """Do it on a PostgreSQL of its own, with payloads in the current folder."""
    stored = Payloads(
        storage=Storage(Path("payloads").absolute().as_uri()),
        keys=[Fernet.generate_key().decode()],
    )
    with embedded_postgresql(durable=False) as url:
        migrate.upgrade(xclaim.create_engine(url))
        with Queue("orders", url, type=Order) as orders:
            orders.push(Order(id=1))
            claimed = orders.claim()
            assert claimed is not None
            assert claimed.payload == Order(id=1)
            orders.ack(claimed)
        with Queue("tables", url, payloads=stored) as tables:
            tables.push(pa.table({"id": range(100_000)}))
            with tables.consume() as table:
                assert table is not None
                assert table.payload.num_rows == 100_000
    assert any(path.is_file() for path in Path("payloads").rglob("*"))


main()
