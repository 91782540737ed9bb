"""Eight mapped tasks share the records of a file: each record is consumed exactly once.

One worker fails once, after it has claimed a record and before it has acked it. Its retry takes
the same record back at once. The last task proves by SQL that nothing was lost or done twice.

Needs the connection `xclaim_default` and an upgraded schema (`xclaim upgrade`).
"""

import csv
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from airflow.sdk import Param, dag, get_current_context, task

from xclaim.airflow.hooks import XclaimHook

QUEUE = "timezones"
TABLE = "xclaim_message"
RECORDS = Path(__file__).parents[1] / "data" / "zone.tab"
WORKERS = 8
UNLUCKY_ZONE = "Europe/Andorra"  # whoever claims it first fails

EXACTLY_ONCE = """
SELECT count(*)                                           AS pushed,
       count(DISTINCT unique_key)                         AS distinct_records,
       count(CASE WHEN status = 'consumed' THEN 1 END)    AS consumed,
       count(CASE WHEN attempts = 1 THEN 1 END)           AS at_once,
       count(CASE WHEN attempts = 2 THEN 1 END)           AS resumed,
       count(DISTINCT consumed_by)                        AS consumers
  FROM {table}
 WHERE queue = :queue AND headers ->> 'run_id' = :run_id
"""


@dag(
    schedule=None,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    params={"seconds_per_record": Param(0.2, type="number", description="a slow service's answer")},
    doc_md=__doc__,
)
def exclusive_claim() -> None:
    """Push the records, let eight workers share them, and check."""

    @task
    def push_records() -> int:
        with RECORDS.open(newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if not row[0].startswith("#")]
        records = [{"country": row[0], "place": row[1], "zone": row[2]} for row in rows]
        return len(XclaimHook().queue(QUEUE).push_many(records))

    @task
    def work_off(worker: int) -> int:
        queue = XclaimHook().queue(QUEUE)
        pause = get_current_context()["params"]["seconds_per_record"]
        done = 0
        while (claimed := queue.claim()) is not None:
            time.sleep(pause)
            print(describe(claimed.payload))
            if claimed.payload["zone"] == UNLUCKY_ZONE and claimed.message.attempts == 1:
                raise RuntimeError(f"worker {worker} fails with a claimed record in its hands")
            queue.ack(claimed)
            done += 1
        return done

    @task
    def check(pushed: int) -> None:
        from sqlalchemy import text

        run_id = get_current_context()["run_id"]
        hook = XclaimHook()
        schema = hook.database().schema  # if the connection's extras name one
        counted = text(EXACTLY_ONCE.format(table=f'"{schema}".{TABLE}' if schema else TABLE))
        with hook.get_conn().connect() as connection:
            row = connection.execute(counted, {"queue": QUEUE, "run_id": run_id}).one()
        print(row._asdict())
        assert row.pushed == row.distinct_records == row.consumed == pushed, row
        assert (row.at_once, row.resumed) == (pushed - 1, 1), row

    pushed = push_records()
    worked = work_off.expand(worker=list(range(WORKERS)))
    pushed >> worked >> check(pushed)  # type: ignore[arg-type]  # an XCom stands for its value


def describe(record: dict[str, str]) -> str:
    """Say where a zone is, and how far its clock is from UTC now."""
    latitude, longitude = coordinates(record["place"])
    clock = datetime.now(ZoneInfo(record["zone"]))
    return f"{record['zone']} at {latitude:.2f}, {longitude:.2f} is at UTC{clock:%z}"


def coordinates(place: str) -> tuple[float, float]:
    """Return decimal degrees from ISO 6709: +DDMM+DDDMM or +DDMMSS+DDDMMSS."""
    split = max(place.rfind("+"), place.rfind("-"))
    return degrees(place[:split], 2), degrees(place[split:], 3)


def degrees(text: str, digits: int) -> float:
    """Return decimal degrees from a sign, digits of degrees, minutes and perhaps seconds."""
    sign = -1 if text[0] == "-" else 1
    minutes_at = digits + 1
    whole, minutes = text[1:minutes_at], text[minutes_at : minutes_at + 2]
    seconds = text[minutes_at + 2 :] or "0"
    return sign * (int(whole) + int(minutes) / 60 + int(seconds) / 3600)


exclusive_claim()
