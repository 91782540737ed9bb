"""A task returns exclusive values, and each mapped task gets one of them, alone.

`exclusive(value)` pushes the value as a message; the XCom says which one. As an argument of
`@task.exclusive` without a queue it is a claimed message: acked when the function returns,
released when it raises, and the retry has it again. A plain `@task` claims it in a `with` block.
Whatever else reads the XCom, a template or the UI, claims nothing.

Needs `[core] xcom_backend = xclaim.airflow.xcom.XclaimXComBackend`, the connection
`xclaim_default` and an upgraded schema (`xclaim upgrade`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

from xclaim.airflow.xcom import exclusive

if TYPE_CHECKING:
    from xclaim import Message
    from xclaim.airflow.xcom import ExclusiveValue


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def exclusive_hand_over() -> None:
    """Hand three parcels over to a courier each, and the invoice to the accountant."""

    @task
    def pack() -> list[Any]:
        return [exclusive({"parcel": number}) for number in range(3)]

    @task
    def write_invoice() -> Any:
        return exclusive({"amount": 120}, queue_name="invoices")

    @task.exclusive
    def deliver(parcel: Message) -> int:
        print(f"parcel {parcel.payload}, attempt {parcel.attempts}")
        return int(parcel.payload["parcel"])

    @task
    def book(invoice: ExclusiveValue) -> int:
        with invoice as claimed:
            return claimed.payload["amount"] if claimed else 0  # a retry after the ack

    deliver.expand(parcel=pack())
    book(write_invoice())  # type: ignore[arg-type]  # and for its value


exclusive_hand_over()
