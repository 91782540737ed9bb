"""How much later a task starts that claims: `make bench-tasks`, about ten minutes.

Beside one that does nothing, by turns, with the Amazon, Google and Azure providers installed, whose
asset factories no task is to load. Two ways to run a task:

* in a process of its own, as with Celery, Kubernetes and Edge: from the start of the interpreter;
* forked from a scheduler, as by its LocalExecutor: from the moment the executor begins with it.

A task has started at the first line of its function. That of `@task.exclusive` has its message by
then; the one that pushes and claims by itself also says when it has its message. The processor's
time is that of the task and its supervisor up to there, and on a busy machine says more than the
clock. A task that does nothing where xclaim is not even installed shows what it costs the others. A
run ends if a message was not consumed, or if xclaim came from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import make_url

from benchmarks.measuring import WrongResultError
from benchmarks.sides import airflow_task
from benchmarks.sides.checkout import ROOT, both
from benchmarks.sides.process import Side, one_side
from benchmarks.turns import by_turns
from xclaim import Queue
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate

DAGS = Path(__file__).parent / "dags"
MODULE = "benchmarks.sides.airflow_task"
PROVIDERS = ("amazon", "google", "microsoft-azure")
MOST = 1.05  # of what a task takes that does nothing
NOTHING, PUSH_AND_CLAIM, EXCLUSIVE = "nothing", "push_and_claim", "exclusive"
DAG_OF = {NOTHING: "idle_task", PUSH_AND_CLAIM: "claiming_tasks", EXCLUSIVE: "claiming_tasks"}
# How often each says that it has arrived, and where it is then.
POINTS = {
    NOTHING: ("first line",),
    PUSH_AND_CLAIM: ("first line", "has its message"),
    EXCLUSIVE: ("first line, with its message",),
}
Start = tuple[float, float]  # seconds by the clock, and of the processor
Run = Callable[[], list[Start]]  # of a task: a start for each of its points


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A task, and where it runs."""

    task_id: str
    source: Path
    side: str = ""
    is_without_xclaim: bool = False

    def __str__(self) -> str:
        """Return what it is, for the table."""
        without = "xclaim not installed" if self.is_without_xclaim else ""
        return ", ".join(filter(None, [self.task_id, self.side, without]))

    @property
    def extra(self) -> dict[str, str]:
        """Return what its environment has besides."""
        return {airflow_task.WITHOUT_XCLAIM: "yes"} if self.is_without_xclaim else {}


def main() -> None:
    """Measure both ways, and print what is later than is allowed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.task_start", description=__doc__)
    parser.add_argument("--against", metavar="REV", help="a commit that takes turns with this one")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with ExitStack() as stack:
        sources = {"": ROOT / "src"}
        if options.against:
            sources = stack.enter_context(both(options.against))
        url = stack.enter_context(embedded_postgresql())
        migrate.upgrade(url)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xclaim-tasks-")))
        stack.enter_context(_environment(_settings(home, url)))
        queues = {
            name: stack.enter_context(Queue(name, url)) for name in (PUSH_AND_CLAIM, EXCLUSIVE)
        }
        contenders = list(_contenders(sources))
        print(f"providers: {', '.join(_providers())}")
        fresh = {each: partial(_in_a_process_of_its_own, each) for each in contenders}
        _measure("in a process of its own", fresh, queues, options.rounds)
        forked = {
            each: partial(_forked, each, scheduler)
            for each, scheduler in _schedulers(contenders, stack).items()
        }
        _measure("forked from a scheduler", forked, queues, 2 * options.rounds)


def _contenders(sources: Mapping[str, Path]) -> Iterator[Contender]:
    for side, source in sources.items():
        for task_id in DAG_OF:
            yield Contender(task_id=task_id, source=source, side=side)
    yield Contender(
        task_id=NOTHING, source=ROOT / "src", side=next(iter(sources)), is_without_xclaim=True
    )


def _measure(
    way: str,
    starts: Mapping[Contender, Run],
    queues: Mapping[str, Queue],
    rounds: int,
) -> None:
    turns = {str(each): partial(_fed, each, start, queues) for each, start in starts.items()}
    before = {name: queue.counts().consumed for name, queue in queues.items()}
    by_turns(turns, 1)  # everything is compiled, and in the page cache
    taken = by_turns(turns, rounds)
    for name, queue in queues.items():
        consumed = queue.counts().consumed - before[name]
        expected = (rounds + 1) * sum(each.task_id == name for each in starts)
        if consumed != expected:
            raise WrongResultError(f"{name}: {consumed} consumed, not {expected}")
    print(f"\n{way}, {rounds} rounds")
    print(f"{'':56}{'clock':>12}{'ratio':>8} {'processor':>12}{'ratio':>8}   ! over {MOST}")
    for each in starts:
        nothing = taken[f"{NOTHING}{each.side and ', '}{each.side}"]
        for number, point in enumerate(POINTS[each.task_id]):
            times = [starts_of_round[number] for starts_of_round in taken[str(each)]]
            _print(f"{each}: {point}", times, [only for (only,) in nothing])


def _print(title: str, times: list[Start], nothing: list[Start]) -> None:
    shown = ""
    for mine, other in zip(zip(*times, strict=True), zip(*nothing, strict=True), strict=True):
        ratio = statistics.median(one / two for one, two in zip(mine, other, strict=True))
        missed = "!" if ratio > MOST else " "
        shown += f"{statistics.median(mine) * 1000:9.0f} ms{ratio:8.3f}{missed}"
    print(f"{title:56}{shown}")


def _fed(each: Contender, start: Run, queues: Mapping[str, Queue]) -> list[Start]:
    if each.task_id == EXCLUSIVE:
        queues[EXCLUSIVE].push({"order": 1})
    return start()


def _in_a_process_of_its_own(each: Contender) -> list[Start]:
    began = time.monotonic(), 0.0
    subprocess.run(
        [sys.executable, "-m", MODULE, DAG_OF[each.task_id], each.task_id],
        env={**os.environ, "PYTHONPATH": f"{each.source}:{ROOT}", **each.extra},
        cwd=each.source,
        check=True,
    )
    return _start(each, began)


def _forked(each: Contender, scheduler: Side) -> list[Start]:
    began = scheduler.ask(act="run", dag_id=DAG_OF[each.task_id], task_id=each.task_id)
    return _start(each, began)


def _schedulers(contenders: Iterable[Contender], stack: ExitStack) -> dict[Contender, Side]:
    started: dict[tuple[str, bool], Side] = {}
    for each in contenders:
        kind = each.side, each.is_without_xclaim
        if kind not in started:
            with _environment(each.extra):
                started[kind] = stack.enter_context(one_side(MODULE, each.source, str(each)))
    return {each: started[each.side, each.is_without_xclaim] for each in contenders}


def _start(each: Contender, began: Start) -> list[Start]:
    arrivals = Path(os.environ[airflow_task.ARRIVALS])
    lines = arrivals.read_text().splitlines() if arrivals.exists() else []
    arrivals.unlink(missing_ok=True)
    if len(lines) != len(POINTS[each.task_id]):
        log = Path(os.environ["AIRFLOW_HOME"]) / "logs" / "task.log"
        raise WrongResultError(f"{each} arrived {len(lines)} times:\n{log.read_text()[-5000:]}")
    notes = [json.loads(line) for line in lines]
    if any(
        not note["is_right"] or note["source"] not in {None, str(each.source)} for note in notes
    ):
        raise WrongResultError(f"{each}: {notes}")
    return [(note["at"] - began[0], note["processor"] - began[1]) for note in notes]


def _providers() -> list[str]:
    names = [f"apache-airflow-providers-{name}" for name in PROVIDERS]
    return [f"{name} {version(name)}" for name in names]  # the comparison means nothing without


def _settings(home: Path, url: str) -> dict[str, str]:
    return {
        airflow_task.ARRIVALS: str(home / "arrivals"),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_XCLAIM_DEFAULT": make_url(url)
        .set(drivername="postgresql")
        .render_as_string(hide_password=False),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: with what pip has compiled
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    main()
