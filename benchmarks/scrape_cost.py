"""What a scrape of 10 million messages costs: `python -m benchmarks.scrape_cost`.

On the messages of `benchmarks.observing_cost`, 200 queues of them: the time of a scrape as
Prometheus asks for it, by the exporter of ``xclaim metrics`` over HTTP and by the dashboard's
``/metrics``, each one a look of its own; beside it the look alone, and the view
``xclaim_queue_stats``, which counts every row. The limit: 50 ms at best, each. Every scrape must
have all that is labelled, and no more dead letters than the view, which counts them all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from httpx import ASGITransport, AsyncClient
from sqlalchemy import Engine, text
from starlette.requests import Request

from benchmarks.measuring import WrongResultError
from benchmarks.observing_cost import SETTINGS, fill
from xclaim import create_engine
from xclaim.embedded import embedded_postgresql
from xclaim.observing import Observer
from xclaim.telemetry.prometheus import SHARED_FOR, Exposition
from xclaim.telemetry.serving import serving
from xclaim.web import OnePlace, Person, Place, create_app

OUTPUT = Path(__file__).parent / "output" / "scraping.json"
LIMIT = 0.05  # seconds
_TIMES = 15
_LABELS = range(101, 112)  # 100 queues, 10 that wait longest, and the others together
_VIEW = "SELECT sum(dead_letters) FROM xclaim_queue_stats"


def main() -> int:
    """Make the messages, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape_cost")
    parser.add_argument("--keep", type=Path, help="a folder for the database, kept for next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xclaim-scraping-") as scratch:
        Path(scratch).chmod(0o755)  # the server is another user's where we are root
        folder = (options.keep or Path(scratch)) / "postgresql"
        with embedded_postgresql(folder, durable=False, settings=SETTINGS) as url:
            engine = create_engine(url)
            fill(engine)
            figures = _measure(engine)
            engine.dispose()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")
    view = figures["xclaim_queue_stats"]["best"]
    print(f"{'':<24}{'best, ms':>12}{'median, ms':>12}{'of the view':>12}")
    for name, seconds in figures.items():
        best, median = seconds["best"], seconds["median"]
        print(f"{name:<24}{best * 1e3:>12.1f}{median * 1e3:>12.1f}{best / view:>12.4f}")
    late = [name for name in ("xclaim metrics", "/metrics") if figures[name]["best"] > LIMIT]
    print(f"takes longer than {LIMIT * 1e3:.0f} ms: {', '.join(late)}" if late else "within limits")
    return 1 if late else 0


def _measure(engine: Engine) -> dict[str, dict[str, float]]:
    observer = Observer(engine)
    began = time.perf_counter()
    with engine.connect() as connection:
        dead = int(connection.execute(text(_VIEW)).scalar_one())
    view = time.perf_counter() - began
    until = observer.measures().looked_until
    figures = {
        "xclaim_queue_stats": {"best": view, "median": view},
        "the look": _seconds(
            lambda: observer.measures(consumed_after=until - timedelta(minutes=1))
        ),
    }
    with _served(engine) as scrape:
        figures["xclaim metrics"] = _seconds(lambda: _check(scrape(), dead))
    with _dashboard(engine) as scrape:
        # Scrapes within a second would be one look.
        pause = SHARED_FOR.total_seconds()
        figures["/metrics"] = _seconds(lambda: _check(scrape(), dead), pause)
    return figures


@contextmanager
def _served(engine: Engine) -> Iterator[Callable[[], str]]:
    exposition = Exposition(Observer(engine), shared_for=timedelta(0))
    with serving(exposition, "127.0.0.1", 0) as (address, _):

        def scrape() -> str:
            with urllib.request.urlopen(address) as answer:  # noqa: S310  (ours)
                return str(answer.read().decode())

        yield scrape


@contextmanager
def _dashboard(engine: Engine) -> Iterator[Callable[[], str]]:
    place = OnePlace(Place(name="benchmark", engine=engine))
    app = create_app(place, _Everybody(), is_only_process=True)  # which counts what is consumed
    with asyncio.Runner() as runner:
        client = AsyncClient(transport=ASGITransport(app), base_url="http://localhost")

        def scrape() -> str:
            return runner.run(client.get("/metrics")).text

        yield scrape
        runner.run(client.aclose())


def _seconds(look: Callable[[], object], pause: float = 0.0) -> dict[str, float]:
    """Return the best and the median time of a look; the first, which compiles, is not counted."""
    look()
    taken = []
    for _ in range(_TIMES):
        time.sleep(pause)
        began = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began)
    return {"best": min(taken), "median": statistics.median(taken)}


def _check(body: str, dead: int) -> None:
    """Raise WrongResultError unless the scrape has all queues, and all dead letters."""
    if "xclaim_up 1.0" not in body or body.count("\nxclaim_backlog{") not in _LABELS:
        raise WrongResultError("the scrape has not all that it should have")
    said = sum(map(float, re.findall(r"^xclaim_dead_letters{.*} (\S+)$", body, re.MULTILINE)))
    if not dead / 2 < said <= dead:  # of a queue with many it counts only so far
        raise WrongResultError(f"there are {dead} dead letters, and not {said}")


class _Everybody:
    async def identify(self, request: Request) -> Person:
        return Person(name="benchmark")


if __name__ == "__main__":
    raise SystemExit(main())
