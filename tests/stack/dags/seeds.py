"""DAGs as they stand in tutorials: they know nothing of xclaim, nor of an XCom backend."""

from typing import Any

import pandas as pd
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, dag, task


@dag(schedule=None)
def seed_user_id() -> None:
    @task
    def get_user_id() -> int:
        return 42

    @task
    def greet(user_id: int) -> str:
        return f"hello, user {user_id}"

    greet(get_user_id())  # type: ignore[arg-type]  # an XCom stands for its value


with DAG("seed_sum", schedule=None) as sum_dag:
    counts = [
        PythonOperator(task_id=f"count_{number}", python_callable=lambda number=number: number)
        for number in (1, 2, 3)
    ]

    def add_up(ti: Any) -> int:
        return sum(ti.xcom_pull(task_ids=["count_1", "count_2", "count_3"]))

    counts >> PythonOperator(task_id="total", python_callable=add_up)


with DAG("seed_sql", schedule=None) as sql_dag:
    get_id = PythonOperator(task_id="get_id", python_callable=lambda: 7)
    create = SQLExecuteQueryOperator(
        task_id="create", conn_id="shop", sql="CREATE TABLE IF NOT EXISTS visits (user_id int)"
    )
    insert = SQLExecuteQueryOperator(
        task_id="insert",
        conn_id="shop",
        sql="INSERT INTO visits VALUES ({{ ti.xcom_pull(task_ids='get_id') }})",
    )
    select = SQLExecuteQueryOperator(
        task_id="select",
        conn_id="shop",
        sql="SELECT {{ ti.xcom_pull(task_ids='get_id') }} + max(user_id) FROM visits",
    )
    [get_id, create] >> insert >> select

    @task
    def first_value(rows: Any) -> int:
        return int(rows[0][0])

    first_value(select.output)


@dag(schedule=None)
def seed_expand() -> None:
    @task
    def list_files() -> list[str]:
        return ["a.csv", "bb.csv", "ccc.csv"]

    @task
    def measure(file: str) -> int:
        return len(file)

    @task
    def total(sizes: Any) -> int:
        return sum(sizes)

    total(measure.expand(file=list_files()))


@dag(schedule=None)
def seed_frame() -> None:
    @task
    def extract() -> pd.DataFrame:
        return pd.DataFrame({"city": ["Oslo", "Rome"] * 2000, "orders": range(4000)})

    @task
    def busiest(orders: pd.DataFrame) -> str:
        return str(orders.groupby("city")["orders"].sum().idxmax())

    busiest(extract())


user_id_dag = seed_user_id()
expand_dag = seed_expand()
frame_dag = seed_frame()
