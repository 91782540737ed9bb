"""What each page of the dashboard costs on 10 million messages: `python -m benchmarks.page_cost`.

On the messages of `benchmarks.observing_cost`, 200 queues of them, each page is asked of the
application as a browser asks for it, some times. Its table has the best time of the whole answer;
the processor time of that, of the dashboard and of the server together, which says more than a
clock where other programs run; and of its statements the number, the time that the server says it
took for them, and the pages (shared buffers) that they read. Messages that are shown must be those
that plain SQL finds, and as many; a search that has not looked at all must offer to go on, and the
tab of a run must show what is among the newest, or among the latest of a queue. Else the run ends.
The limit: 300 ms for each page, whatever it searches for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import Engine, text
from starlette.requests import Request

from benchmarks.measuring import WrongResultError
from benchmarks.observing_cost import SETTINGS, counted, fill
from xclaim import create_engine
from xclaim.embedded import embedded_postgresql
from xclaim.observing import remembering
from xclaim.web import OnePlace, Person, Place, create_app

OUTPUT = Path(__file__).parent / "output" / "pages.json"
LIMIT = 0.3  # seconds
_TIMES = 5
_ON_A_PAGE = 50
_ROW = re.compile(r'<th scope="row"><a href="[^"]*\bmessage\?id=(\d+)')
_NEXT = re.compile(r'<a href="([^"]*)" rel="next">')
_PENDING = "status = 'available' AND queue NOT LIKE '%.dead'"
_OF_RUN = (
    "(headers ->> 'run_id' = 'run-{0}' OR coalesce(consumed_by, claimed_by) LIKE '%/run-{0}/%')"
)
_NOBODY = "false"

# The filter, and the condition in SQL that fits all that it finds, and nothing else.
_FILTERS = {
    "": "true",
    "status:available": f"{_PENDING} AND available_at <= now()",
    "status:delayed": f"{_PENDING} AND available_at > now()",
    "status:retrying": f"{_PENDING} AND attempts > 0",
    "status:claimed": "status = 'claimed'",
    "status:lapsed": "status = 'claimed' AND claim_expires_at <= now()",
    "status:consumed": "status = 'consumed'",
    "status:dead": "status = 'available' AND queue LIKE '%.dead'",
    "queue:queue-110": "queue IN ('queue-110', 'queue-110.dead')",
    "queue:queue-000": "queue = 'queue-000'",
    "queue:queue-11*": "queue LIKE 'queue-11%'",
    "status:retrying queue:queue-000": _NOBODY,
    "status:retrying queue:queue-110": f"{_PENDING} AND attempts > 0 AND queue = 'queue-110'",
    "status:available queue:queue-003": "queue = 'queue-003'",
    "status:lapsed queue:queue-110": "claim_expires_at <= now() AND queue = 'queue-110'",
    "status:consumed queue:queue-110": "status = 'consumed' AND queue = 'queue-110'",
    "status:claimed by:nobody": _NOBODY,
    "status:available queue:queue-003 by:nobody": _NOBODY,
    "status:delayed queue:queue-003": _NOBODY,
    "status:dead by:nobody": _NOBODY,
    "status:dead queue:queue-150": "queue = 'queue-150.dead'",
    "key:key-4-1000": "unique_key = 'key-4-1000'",
    "key:nobody": _NOBODY,
    "key:key-4-1*": "unique_key LIKE 'key-4-1%'",
    "by:shop/run-17/work[17]#1@host-3": "coalesce(consumed_by, claimed_by)"
    " = 'shop/run-17/work[17]#1@host-3'",
    "by:shop/run-17/*": "coalesce(consumed_by, claimed_by) LIKE 'shop/run-17/%'",
    "by:nobody": _NOBODY,
    "status:consumed queue:queue-110 by:nobody": _NOBODY,
    "run:run-17": _OF_RUN.format(17),
    "run:nobody": _NOBODY,
    "dag:shop task:work": "coalesce(consumed_by, claimed_by) LIKE 'shop/%/work[%'",
    "id:7000000": "id = 7000000",
    f"id:{','.join(str(each * 9_001) for each in range(1, 251))}": "id % 9001 = 0"
    " AND id <= 2250250",
    "id:1..9000000": "id <= 9000000",
    "id:1..9000000 by:nobody": _NOBODY,
    "error:ValueError": "last_error_class = 'ValueError'",
    'error:"boom 1"': "last_error LIKE '%boom 1%'",
    "error:nothing": _NOBODY,
    "payload.id:17": "payload @> '{\"id\": 17}'",
    "payload.customer.id:17": 'payload @> \'{"customer": {"id": 17}}\'',
    "status:consumed queue:queue-110 payload.customer.id:-1": _NOBODY,
    "status:delayed payload.nobody:1": _NOBODY,
    "status:dead payload.note:nothing": _NOBODY,
    "-status:dead -by:shop* -error:boom": "NOT (status = 'available' AND queue LIKE '%.dead')"
    " AND coalesce(consumed_by, claimed_by) IS NULL AND last_error IS NULL",
    " ".join(f"-payload.step.{each}.{each}:nothing" for each in range(20)): "true",
}
# Not of messages, or not by a filter: the page, and what it must show, so many times or more.
_PAGES: dict[str, tuple[str, int]] = {
    "queues": ('<th scope="row">', 200),
    "queues?sort=-dead": ('<th scope="row">', 200),
    "queues?named=queue-1": ('<th scope="row">', 100),
    "flows?" + urlencode([("name", f"queue-{each:03}") for each in range(100, 150)]): ("rate:", 50),
    "queue?name=queue-000": ("queue-000", 2),
    "queue?name=queue-001": ("queue-001", 2),
    "queue?name=queue-002&span=7d": ("queue-002", 2),
    "queue?name=queue-003": ("queue-003", 2),
    "queue?name=queue-150&span=24h": ("queue-150", 2),
    "message?id=1": ("<h2>What happened</h2>", 1),
    "message?id=7000000": ("<h2>What happened</h2>", 1),
    "dead-letters": ("queue-150", 2),
    "dead-letters?queue=queue-150": ("ValueError", 1),
    "claims": ('<th scope="row">', 100),
    "claims?queue=queue-110": ('<th scope="row">', 20),
    "claims?queue=queue-002": ('<th scope="row">', 100),
    "completions?text=queue%3Aqueue-1": ("queue:queue-1", 20),
    "redrive?queue=queue-150": ('<th scope="row">', 20),
    "redrive?filter=status%3Adead&limit=10000": ('<th scope="row">', 20),
    "redrive?filter=status%3Adead+error%3Anobody&limit=10000": ("nothing to do", 1),
    "withdraw?filter=queue%3Aqueue-000+status%3Adelayed&limit=10000": ('<th scope="row">', 20),
    "withdraw?filter=status%3Adelayed+payload.id%3A-1&limit=10000": ("nothing to do", 1),
    "release?filter=queue%3Aqueue-002+status%3Alapsed&limit=10000": ('<th scope="row">', 20),
    "pause?queue=queue-001": ("csrf_token", 1),
    "expire?queue=queue-002": ("csrf_token", 1),
    "push?queue=queue-001": ("csrf_token", 1),
    "doctor": ("doctor", 1),
}
# A run or a task, and the condition that what it has done must fit.
_TASKS = {
    "task?dag=shop&run=run-17": _OF_RUN.format(17),
    "task?dag=shop&run=run-17&task=work&map=17": "coalesce(consumed_by, claimed_by)"
    " LIKE 'shop/run-17/work[17]#%'",
    "task?dag=shop&run=run-17&task=push&map=17": "headers ->> 'run_id' = 'run-17'",
    "task?dag=shop&run=nobody": _NOBODY,
}
_LATEST = (
    "FROM xclaim_message WHERE queue = 'queue-110' AND {0} IS NOT NULL ORDER BY {0} DESC, id DESC"
)
# The run of the first of some messages, of which its tab must show all that are of it: so many.
_KNOWN_RUNS = {
    "pushed": ("headers ->> 'run_id'", "FROM xclaim_message ORDER BY id DESC", 10_000),
    "consumed": ("split_part(consumed_by, '/', 2)", _LATEST.format("consumed_at"), 50),
    "held": ("split_part(claimed_by, '/', 2)", _LATEST.format("claim_expires_at"), 20),
}
_FURTHER = {  # pages that go on from the one before: how far
    "messages?filter=payload.customer.id%3A17": 20,
    "messages?filter=status%3Aconsumed+queue%3Aqueue-110": 5,
    "messages?filter=status%3Adelayed": 5,
    "messages?filter=status%3Alapsed": 5,
    "claims?queue=queue-002": 5,
    "claims": 5,
    "task?dag=shop&run=run-17": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one page costs; times in seconds."""

    best: float
    median: float
    processor: float
    server: float
    statements: int
    pages: int
    shown: int


class Dashboard:
    """The application in this process, and whoever asks it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._place = Place(name="benchmark", engine=engine)
        self._app = create_app(OnePlace(self._place), _Everybody())
        self._runner = asyncio.Runner()
        transport = ASGITransport(self._app)
        self._client = AsyncClient(transport=transport, base_url="http://localhost")

    def get(self, address: str) -> Response:
        """Return the answer, as a process gives it that has looked at queues before."""
        self._app.state.flows.forget(self._place)  # for some seconds many share them
        answer = self._runner.run(self._client.get(f"/{address}"))
        if answer.status_code != 200:  # noqa: PLR2004
            raise WrongResultError(f"{address}: {answer.status_code}")
        return answer

    def close(self) -> None:
        """End it."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def processor_seconds(self) -> float:
        """Return the processor time of this process and of all its sessions in the server."""
        return time.process_time() + sum(map(_of_process, self._sessions()))

    def _sessions(self) -> list[int]:
        of_us = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        with self._engine.connect() as connection:
            return list(connection.execute(text(of_us)).scalars())


def _of_process(number: int) -> float:
    """Return the processor time of a process, which the kernel counts in nanoseconds."""
    try:
        said = Path(f"/proc/{number}/schedstat").read_text()
    except OSError:  # it has ended
        return 0.0
    return int(said.split()[0]) / 1e9


@contextmanager
def dashboard_of(engine: Engine) -> Iterator[Dashboard]:
    """Open a dashboard for somebody who may do everything."""
    shown = Dashboard(engine)
    try:
        yield shown
    finally:
        shown.close()


class Truth:
    """What plain SQL says of the messages, whatever that takes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self, address: str, body: str, condition: str) -> int:
        """Raise WrongResultError unless a page shows what fits; return how many it shows."""
        shown = [int(each) for each in _ROW.findall(body)]
        if self._count(f"id = ANY(:ids) AND ({condition})", ids=shown) != len(set(shown)):
            raise WrongResultError(f"{address}: {shown} do not fit all")
        if len(shown) < _ON_A_PAGE and _NEXT.search(body) is None:
            real = self._count(condition)
            if real != len(set(shown)):
                raise WrongResultError(f"{address}: there are {real}, and not {len(shown)}")
        return len(shown)

    def value(self, query: str) -> str:
        """Return what a query says."""
        with self._engine.connect() as connection:
            return str(connection.execute(text(query)).scalar_one())

    def check_shown(self, address: str, body: str, condition: str) -> None:
        """Raise WrongResultError unless a page shows all that fits, and that is something."""
        shown = {int(each) for each in _ROW.findall(body)}
        asked = f"SELECT id FROM xclaim_message WHERE {condition}"  # noqa: S608
        with self._engine.connect() as connection:
            wanted = set(connection.execute(text(asked)).scalars())
        if not wanted or wanted - shown:
            raise WrongResultError(f"{address}: of {wanted} it does not show {wanted - shown}")

    def _count(self, condition: str, **values: object) -> int:
        counting = f"SELECT count(*) FROM xclaim_message WHERE {condition}"  # noqa: S608
        with self._engine.connect() as connection:
            return int(connection.execute(text(counting), values).scalar_one())


def measured(shown: Dashboard, address: str, check: Callable[[str], int]) -> Figure:
    """Measure a page some times, and look at what it shows."""
    found = check(shown.get(address).text)
    times, before = [], shown.processor_seconds()
    for _ in range(_TIMES):
        began = time.perf_counter()
        shown.get(address)
        times.append(time.perf_counter() - began)
    processor = (shown.processor_seconds() - before) / _TIMES
    with counted() as pages:
        shown.get(address)
    return Figure(
        best=min(times),
        median=statistics.median(times),
        processor=processor,
        server=pages.seconds,
        statements=pages.statements,
        pages=pages.count,
        shown=found,
    )


def run(engine: Engine) -> dict[str, Figure]:
    """Measure all pages."""
    truth, figures = Truth(engine), {}
    with dashboard_of(engine) as shown:
        for filter_, condition in _FILTERS.items():
            address = "messages?" + urlencode({"filter": filter_})
            figures[address] = measured(shown, address, _of_messages(truth, address, condition))
        for address, (text_, least) in _PAGES.items():
            figures[address] = measured(shown, address, _with(address, text_, least))
        for address, condition in _TASKS.items():
            check = _of_messages(truth, address, condition)
            figures[address] = measured(shown, address, check)
        for kind, (of_run, messages, number) in _KNOWN_RUNS.items():
            run_id = truth.value(f"SELECT {of_run} {messages} LIMIT 1")
            must_be_shown = f"id IN (SELECT id {messages} LIMIT {number})"
            address = f"task?dag=shop&run={run_id}"
            condition = _OF_RUN.format(run_id.removeprefix("run-"))
            check = _of_work(truth, address, condition, must_be_shown)
            figures[f"{address} ({kind})"] = measured(shown, address, check)
        for address, pages in _FURTHER.items():
            further, seen = _further(shown, address, pages)
            figures[f"{address}, {pages} pages on"] = measured(shown, further, _anew(seen))
        # Not until the end: what is remembered of queues is what the next page goes by.
        remembering._remembered.clear()  # noqa: SLF001
        began = time.perf_counter()
        shown.get("queues")
        print(f"queues, for the first time: {(time.perf_counter() - began) * 1000:.1f} ms")
    return figures


def _of_messages(truth: Truth, address: str, condition: str) -> Callable[[str], int]:
    return lambda body: truth.check(address, body, condition)


def _of_work(
    truth: Truth, address: str, condition: str, must_be_shown: str
) -> Callable[[str], int]:
    """Check the work of a run: all that is shown fits, and what it cannot miss is among that."""

    def check(body: str) -> int:
        truth.check_shown(address, body, f"({condition}) AND {must_be_shown}")
        return truth.check(address, body, condition)

    return check


def _with(address: str, wanted: str, least: int) -> Callable[[str], int]:
    def check(body: str) -> int:
        count = body.count(wanted)
        if count < least:
            raise WrongResultError(f"{address}: {wanted!r} {count} times, and not {least}")
        return count

    return check


def _further(shown: Dashboard, address: str, pages: int) -> tuple[str, set[int]]:
    """Follow the link to the next page so often; return the address, and what was seen before."""
    seen: set[int] = set()
    for _ in range(pages):
        body = shown.get(address).text
        seen |= set(map(int, _ROW.findall(body)))
        found = _NEXT.search(body)
        if found is None:
            raise WrongResultError(f"{address} does not go on")
        address = unescape(found[1]).removeprefix("./")
    return address, seen


def _anew(seen: set[int]) -> Callable[[str], int]:
    def check(body: str) -> int:
        found = [int(each) for each in _ROW.findall(body)]
        if seen & set(found):
            raise WrongResultError(f"{seen & set(found)} are shown twice")
        return len(found)

    return check


def report(figures: dict[str, Figure]) -> bool:
    """Print the table; return whether all pages stay within the limit."""
    print(
        f"{'':<64}{'ms':>8}{'median':>8}{'CPU':>8}{'server':>8}{'asked':>7}{'pages':>9}{'rows':>6}"
    )
    for address, each in sorted(figures.items(), key=lambda item: -item[1].best):
        times = (each.best, each.median, each.processor, each.server)
        print(
            f"{address[:63]:<64}" + "".join(f"{value * 1000:>8.1f}" for value in times),
            f"{each.statements:>6}{each.pages:>9,}{each.shown:>6}",
        )
    late = [address for address, each in figures.items() if each.best > LIMIT]
    for address in late:
        print(f"{address} takes longer than {LIMIT * 1000:.0f} ms")
    return not late


class _Everybody:
    async def identify(self, request: Request) -> Person:
        del request
        return Person(name="benchmark", may_act=True, may_see_payloads=True)


def main() -> int:
    """Make the messages, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_cost", description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder for the database, kept for next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xclaim-pages-") as scratch:
        Path(scratch).chmod(0o755)  # the server is another user's where we are root
        folder = (options.keep or Path(scratch)) / "postgresql"
        with embedded_postgresql(folder, durable=False, settings=SETTINGS) as url:
            engine = create_engine(url)
            fill(engine)
            figures = run(engine)
            engine.dispose()
    OUTPUT.parent.mkdir(exist_ok=True)
    kept = {address: asdict(each) for address, each in figures.items()}
    OUTPUT.write_text(json.dumps(kept, indent=1) + "\n")
    return 0 if report(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
