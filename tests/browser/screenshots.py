"""The pictures of the dashboard in the docs: `make screenshots` takes them anew.

Of a shop's work of an hour, in the embedded PostgreSQL: each in light, and one in dark too.
"""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser
from sqlalchemy import Engine, text

from tests.browser.chromium import opened
from tests.browser.serving import served
from tests.web.dashboards import Dashboard
from xclaim import Queue, create_engine
from xclaim.claims import Claim
from xclaim.embedded import embedded_postgresql
from xclaim.operations.migrate import upgrade
from xclaim.retry import Retry

FOLDER = Path(__file__).parents[2] / "docs" / "artefacts" / "dashboard"
PICTURES = {
    "queues": "queues",
    "queue": "queue?name=orders",
    "messages": "messages?filter=queue%3Aorders+status%3Aavailable",
    "message": "message?id={failed}",
    "dead-letters": "dead-letters",
    "claims": "claims",
}
_IN_DARK_TOO = ("queue",)
# What an hour has consumed: more and more of it, each after a wait and some work.
_CONSUMED = """
INSERT INTO xclaim_message
       (queue, origin_queue, payload, headers, status, attempts, created_at, available_at,
        claimed_at, consumed_at, consumed_by)
SELECT 'orders', 'orders', jsonb_build_object('order', n, 'amount', n % 90 + 10),
       jsonb_build_object('dag_id', 'shop', 'run_id', 'hourly', 'task_id', 'collect',
                          'map_index', n % 4, 'try_number', 1),
       'consumed', 1, at - interval '40 seconds', at - interval '40 seconds',
       at - interval '4 seconds', at, 'shop/hourly/ship[' || n % 4 || ']#1@worker-' || n % 3
  FROM (SELECT n, statement_timestamp() - interval '1 hour' * sqrt(random()) AS at
          FROM generate_series(1, 5000) AS n) AS done
"""

_ONE_ATTEMPT = Retry(max_attempts=1)


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        embedded_postgresql(durable=False) as url,
        opened() as chromium,
    ):
        engine = create_engine(url)
        upgrade(engine)
        failed = _fill(engine)
        with served(Dashboard(engine).app) as address:
            for name, path in PICTURES.items():
                target = f"{address}/{path.format(failed=failed)}"
                for scheme in ("light", "dark") if name in _IN_DARK_TOO else ("light",):
                    _take(chromium, target, FOLDER / f"{name}-{scheme}.png", scheme)
        engine.dispose()


def _take(chromium: Browser, address: str, target: Path, scheme: str) -> None:
    context = chromium.new_context(
        viewport={"width": 1280, "height": 860},
        color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(1500)  # what is filled in later is there then
    page.screenshot(path=target)
    context.close()


def _fill(engine: Engine) -> int:
    """Fill the shop, and return the id of a message that has failed."""
    with engine.begin() as connection:
        connection.execute(text(_CONSUMED))
    orders: Queue[dict[str, int]] = Queue("orders", engine)
    lineage = {"dag_id": "shop", "run_id": "hourly", "task_id": "collect", "map_index": 0}
    orders.push_many([{"order": n, "amount": n * 7} for n in range(5001, 5401)], headers=lineage)
    for number in range(12):
        _claim(orders, f"shop/hourly/ship[{number % 4}]#1@worker-{number % 3}")
    failed = _claim(orders, "shop/hourly/ship[1]#1@worker-1")
    orders.release(failed, error=TimeoutError("the parcel service did not answer in 30 s"))
    for number in range(9):
        claim = _claim(orders, f"shop/hourly/ship[{number % 4}]#2@worker-2")
        error = ValueError("no such postcode") if number % 3 else KeyError("amount")
        orders.release(claim, error=error, retry=_ONE_ATTEMPT)
    for name in ("invoices", "newsletters", "returns"):
        Queue(name, engine).push_many([{"n": n} for n in range(3)])
    Queue("newsletters", engine).pause(reason="the provider is down until noon")
    return failed.message.id


def _claim(queue: Queue[dict[str, int]], claimed_by: str) -> Claim[dict[str, int]]:
    claim = queue.claim(claimed_by=claimed_by)
    if claim is None:
        raise RuntimeError("there is nothing to claim")
    return claim


if __name__ == "__main__":
    main()
