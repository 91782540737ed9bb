"""XComs of any size: small ones in Airflow's database, large ones in object storage.

The tasks know nothing of it. With

    [core] xcom_backend = xclaim.airflow.xcom.XclaimXComBackend
    [xclaim] xcom_storage = s3://aws_default@my-bucket/airflow

a value of more than 64 KiB (`[xclaim] xcom_threshold`) goes to S3, through the Airflow connection
`aws_default`, and its XCom has the URI, the size and the SHA-256. `gs://`, `abfs://` and, on a disk
that all workers share, `file:///var/lib/airflow/objects` do the same; `pip install "xclaim[s3]"`,
`[gcs]` or `[azure]` has the client. `[xclaim] xcom_compression = zstd` compresses,
`[xclaim] xcom_encryption = airflow` encrypts with Airflow's own Fernet key. Without this
configuration the DAG works as well, and all of it stays in the database.

What runs that were deleted, or `airflow db clean`, leave in the storage is deleted by the last
task, or by `airflow xclaim clean-xcoms` where Airflow's database can be reached.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task


@dag(schedule=None, doc_md=__doc__)
def xcom_on_object_storage() -> None:
    """Pass a large and a small value on, and clean up."""

    @task(multiple_outputs=True)
    def extract() -> dict[str, Any]:
        rows = [{"row": number, "city": "Oslo"} for number in range(20_000)]
        return {"rows": rows, "extracted_at": datetime(2026, 1, 1, 12)}  # noqa: DTZ001

    @task
    def summarise(rows: list[dict[str, Any]], extracted_at: datetime) -> str:
        return f"{len(rows)} rows, extracted at {extracted_at:%H:%M}"

    @task
    def clean() -> dict[str, int]:
        from airflow.configuration import conf

        from xclaim.airflow.xcom import clean_xcoms

        if not conf.get("xclaim", "xcom_storage", fallback=""):
            return {}
        return clean_xcoms(older_than=timedelta(days=1))

    extracted = extract()
    summarise(rows=extracted["rows"], extracted_at=extracted["extracted_at"]) >> clean()  # type: ignore[index]


xcom_on_object_storage()
