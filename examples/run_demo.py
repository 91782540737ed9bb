"""The main job on real input: `make demo`.

Starts an embedded PostgreSQL and a real Airflow, runs `dags/exclusive_claim.py` in it, and shows
what the queue looks like afterwards. Nothing of it stays.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import URL, Engine, create_engine, make_url, text

from examples.airflow_stack import (
    StackError,
    environment,
    migrate_metadata,
    run_dag,
    running,
    tail_of_logs,
)
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate

DAGS = Path(__file__).parent / "dags"
BY_STATUS = """
SELECT status, count(*) AS messages, min(attempts) AS fewest_attempts,
       max(attempts) AS most_attempts
  FROM xclaim_message WHERE queue = 'timezones' GROUP BY status
"""
BY_CONSUMER = """
SELECT substring(consumed_by FROM '[^/]*$') AS consumed_by, count(*) AS messages,
       count(*) FILTER (WHERE attempts > 1) AS taken_back
  FROM xclaim_message WHERE queue = 'timezones' GROUP BY 1 ORDER BY 1
"""
STATS = "SELECT * FROM xclaim_queue_stats"
NOT_ONCE = """
SELECT count(*) FROM xclaim_message
 WHERE queue <> 'timezones' OR status <> 'consumed' OR consumed_by IS NULL
"""
console = Console()


def main() -> int:
    """Run the demonstration; return 0 if every record was consumed exactly once."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xclaim-demo-") as folder, embedded_postgresql() as url:
        say(began, "PostgreSQL runs, embedded")
        queue_url, metadata_url = create_databases(make_url(url))
        engine = create_engine(queue_url)
        try:
            state = run(began, Path(folder), queue_url, metadata_url)
            if state != "success":
                console.print(tail_of_logs(Path(folder)), markup=False, highlight=False)
                console.print(f"[red]the DAG run ended as {state}")
                return 1
            return report(engine)
        except StackError as error:
            console.print(str(error), style="red", markup=False)
            return 1
        finally:
            engine.dispose()


def create_databases(server: URL) -> tuple[URL, URL]:
    """Create one database for the queue and one for Airflow's metadata."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("shop", "airflow"):
            connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database="shop"), server.set(
        drivername="postgresql+psycopg2", database="airflow"
    )


def run(began: float, home: Path, queue_url: URL, metadata_url: URL) -> str:
    """Migrate both databases, start Airflow and run the DAG; return how the run ended."""
    migrate.upgrade(queue_url.render_as_string(hide_password=False))
    say(began, "xclaim upgraded its schema")
    settings = environment(
        home, DAGS, metadata_url.render_as_string(hide_password=False), connection(queue_url)
    )
    migrate_metadata(settings, home)
    say(began, "Airflow migrated its metadata")
    with running(settings, home) as client:
        say(began, "Airflow runs: api-server, scheduler with LocalExecutor, dag-processor")
        state: str = run_dag(client, home, "exclusive_claim")
    say(began, f"the DAG run exclusive_claim ended as {state}")
    return state


def connection(url: URL) -> str:
    """Return the Airflow connection of type xclaim."""
    return json.dumps(
        {
            "conn_type": "xclaim",
            "host": url.host,
            "port": url.port,
            "login": url.username,
            "password": url.password,
            "schema": url.database,
        }
    )


def report(engine: Engine) -> int:
    """Show the queue's state in SQL, and by whom each share was consumed."""
    show(engine, "The queue: SELECT * FROM xclaim_queue_stats", STATS)
    show(engine, "By status", BY_STATUS)
    show(engine, "By whom each share was consumed (taken_back: resumed by a retry)", BY_CONSUMER)
    with engine.connect() as connection:
        wrong = connection.scalar(text(NOT_ONCE))
        total = connection.scalar(text("SELECT count(*) FROM xclaim_message"))
    if wrong or not total:
        console.print(f"[red]{wrong} of {total} records were not consumed exactly once")
        return 1
    console.print(f"[green]all {total} records were consumed exactly once")
    return 0


def show(engine: Engine, title: str, query: str) -> None:
    """Print the result of a query as a table."""
    with engine.connect() as connection:
        result = connection.execute(text(query))
        # Nine columns of statistics fit on a line of 80 characters only without padding.
        table = Table(
            title=title,
            title_justify="left",
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for name in result.keys():  # noqa: SIM118  (a result is no dict)
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in result:
            table.add_row(*["" if value is None else str(value) for value in row])
    console.print(table)


def say(began: float, what: str) -> None:
    """Print a step with the seconds since the start."""
    console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {what}")


def stop(number: int, _frame: object) -> None:
    """Leave through every `finally`: a signal's own action would leave Airflow running."""
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    sys.exit(main())
