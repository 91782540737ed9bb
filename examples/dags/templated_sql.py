"""SQL with values of a claimed message, without a line of Python.

`ClaimOperator` returns a ticket, whose payload templates can read. Pass its values as
`parameters`: the driver sends them apart from the statement. Never write them into `sql`, as in
`"... VALUES ('{{ ti.xcom_pull(task_ids='claim')['payload']['city'] }}')"`: whoever can push a
message could then run SQL of their own with the rights of that connection.

If the statement fails the message is released at once; without that task it would come back
after the ticket's lease.

Needs the connections `xclaim_default` and `shop` (PostgreSQL), an upgraded schema, a table
`shipment (order_id bigint PRIMARY KEY, city text)`, and Airflow's PostgreSQL provider.
"""

from __future__ import annotations

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import dag

from xclaim.airflow.operators import AckOperator, ClaimOperator, ReleaseOperator

QUEUE = "shipments"


@dag(schedule=None, doc_md=__doc__)
def templated_sql() -> None:
    """Claim a shipment, write it down, and ack it, or release it if that failed."""
    claim = ClaimOperator(task_id="claim", queue_name=QUEUE)
    ship = SQLExecuteQueryOperator(
        task_id="ship",
        conn_id="shop",
        sql="""
            INSERT INTO shipment (order_id, city) VALUES (%(order_id)s, %(city)s)
                ON CONFLICT (order_id) DO NOTHING
        """,
        parameters={
            "order_id": "{{ ti.xcom_pull(task_ids='claim')['payload']['order'] }}",
            "city": "{{ ti.xcom_pull(task_ids='claim')['payload']['city'] }}",
        },
    )
    ack = AckOperator(task_id="ack", ticket=claim.output)
    release = ReleaseOperator(
        task_id="release",
        ticket=claim.output,
        error="the statement failed, see task ship of run {{ run_id }}",
        trigger_rule="one_failed",
    )
    claim >> ship >> [ack, release]


templated_sql()
