"""The page of what xclaim logs: what the verbs say, and all other lines as they stand in the code.

The verbs are run on a database of their own, and what they log is shown. What each of the other
lines means is said here.
"""

from __future__ import annotations

import ast
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from tests.reference import markdown
from tests.reference.markdown import code, table
from xclaim import Claim, ClaimLostError, Queue, verbs
from xclaim.operations import migrate

SOURCES = Path(__file__).parents[2] / "src"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
_LOGGERS = ("_logger", "_log", "self.log")
_NOW = timedelta(0)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
_PLACE = re.compile(r"%[-.\d]*[a-z]")

MEANINGS = {
    "the database is away (%s), asking again in %.1f s, for %.0f s more": (
        "A loop has lost its connection and goes on when the database is back. Nothing is lost."
    ),
    "place %s is away (%s) and is not asked for %.1f s": (
        "A part of a queue that is split is there. The other parts are asked meanwhile."
    ),
    "the database is back after %.1f s": "The loop goes on. What it lost, others may have.",
    "message %s in %r cannot be read and was released (%s)": (
        "A loop cannot read a payload. After its attempts it is a dead letter: see "
        "[payloads](../payloads.md#when-a-payload-cannot-be-read)."
    ),
    "the connection that listens for pushes failed and is made anew; until then waiting claims "
    "only look now and then": "A waiting claim may be slower for a while, and misses nothing.",
    "extending the lease failed, trying again": (
        "If it goes on until the lease ends, others may claim the message. Look at the database."
    ),
    "message %s cannot be claimed and is a dead letter: %s": (
        "What is in the row cannot be sent. Correct it with SQL and redrive, or withdraw it."
    ),
    "drained %s": "How a draining task ended: calls, messages and failures.",
    "pushed %d messages to %s": "What a `PushOperator` has pushed.",
    "nothing is held for the ticket any more: there is nothing to release": (
        "A retry of a `ReleaseOperator`, whose earlier try has released them or was too late."
    ),
    "nothing was claimed: there is nothing to release": (
        "A `ReleaseOperator` without a ticket: the claiming task has failed, or found nothing."
    ),
    "%s: %s": "What a `MaintenanceOperator` has done to a queue, and what is in it now.",
    "a stream was not closed: %s": "At a task's end. Its messages come back after their lease.",
    "message ... was not released: %s": (
        "At the end of a task. The message comes back after its lease."
    ),
    "the object of XCom %r was not deleted": (
        "Airflow deleted an XCom and its object stays. `airflow xclaim clean-xcoms` finds it."
    ),
    "%d objects stay that rows name and that are not below %s in the folders of the rows' queues": (
        "Rows were written by hand, and name objects that are not theirs. None was deleted."
    ),
    "%d objects of payloads stay until `xclaim prune --orphans` finds them: %s": (
        "The storage did not answer after the rows were deleted. Run the command later."
    ),
    "message %s was not released and comes back after its lease": (
        "The work failed, and then the release too. Look at the database."
    ),
    "a listener to verbs failed": (
        "What you gave to `xclaim.connections.events` raised. The verb was done all the same."
    ),
    "a call ended after its caller was cancelled and had gone: %s": (
        "With asyncio: a statement took longer than its caller waited. `well`, or its error."
    ),
    "the table is not to be had: who uses it lets nobody lock it; trying again": (
        "`xclaim ordering enable` or `disable` needs the table for a moment, and a transaction "
        "that writes to it does not end. After twenty tries it gives up, and says so."
    ),
    "an index is being built: this run waits for it": (
        "`xclaim ordering enable` was cut short, and the server still builds. Nobody waits for it."
    ),
    "another run is at work on the indexes of ordering keys, or an index is being built: this one "
    "waits for it": (
        "Of two runs of `xclaim ordering enable` or `disable` the second has nothing to do yet."
    ),
    "at work on %s: it reads the table, and waits for the transactions that began before it; "
    "nobody waits for it": (
        "`xclaim ordering enable` or `disable` takes its time: the table is large, or a "
        "transaction is old (`pg_stat_activity`)."
    ),
    "the migration waits: %s": "`xclaim upgrade` waits for a lock. The line says for whose.",
    "a page failed: %s": (
        "A page of the dashboard could not be shown. The traceback follows; whoever asked was told "
        "that the log has it."
    ),
    "a page that is watched cannot be asked: %s": (
        "Numbers of a page that somebody looks at could not be had; they are asked for again."
    ),
    "who asks for the dashboard cannot be told: %s at %s": (
        "Airflow's auth manager raised, and the request was refused. The line has the error's "
        "class and where it was raised."
    ),
    "how long messages wait in %s cannot be measured: %s": (
        "A gauge of `MaintenanceOperator` was left out, because the database did not answer it."
    ),
    "metrics: the database does not answer (%s)": (
        "`xclaim metrics` or the dashboard could not look: `xclaim_up` is 0 from now on."
    ),
    "metrics: the database answers again": "Scrapes have all metrics again.",
    "%s is set, and nothing is measured": (
        "`XCLAIM_OTEL=1`, and OpenTelemetry could not be set up. The traceback follows."
    ),
    "%s is set, and nothing is measured: install xclaim[otel] (%s)": (
        "`XCLAIM_OTEL=1`, and the extra is not installed."
    ),
    "what comes along with a push or with work failed": (
        "What measures or traces raised. The push or the work was done all the same."
    ),
    "operator %s %s": (
        "Somebody did something by hand: with a command (`ack`, `release`, `withdraw`) or in the "
        "dashboard, which names the person. The line says what, to how many, and which."
    ),
    "could not discard %s (%s)": (
        "A payload was not stored to its end, and what is there of it was not deleted. `xclaim "
        "prune --orphans` finds it."
    ),
}


class Line(NamedTuple):
    """A line of the log, as the code has it."""

    level: str
    text: str
    module: str


def page() -> str:
    """Return the page."""
    lines = sorted(set(lines_in_the_code()), key=lambda line: (line.module, line.text))
    return markdown.page(
        "Log lines",
        "Every line that xclaim logs, at which level, and what it means. The logger is `xclaim`; "
        "lines of operators go to their task's log. No line has a payload, a header, a key or a "
        "token.",
        "## What the verbs say",
        "One line for each verb that changed something, and one for each message that failed. In "
        "your own transaction a line ends in `, in the open transaction`: it may be rolled back. "
        "Here is each of them, as it was logged.",
        table(("level", "line", "meaning"), _verb_lines()),
        "## All other lines",
        table(
            ("level", "line", "module", "meaning"),
            [
                (line.level, code(_shown(line.text)), code(line.module), MEANINGS[line.text])
                for line in lines
            ],
        ),
    )


def _shown(format_: str) -> str:
    return _PLACE.sub("...", format_)


# --------------------------------------------------------------------------------------- the verbs


def _verb_lines() -> Iterator[tuple[str, str, str]]:
    for meaning, scene in _SCENES:
        for level, line in _logged(scene):
            yield level, code(line), meaning


def _logged(scene: Callable[[Queue], object]) -> list[tuple[str, str]]:
    """Return what the last verb of a scene says, with the same times for every run."""
    heard = _Heard()
    logger = logging.getLogger("xclaim")
    before = logger.level
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/xclaim.db"
        migrate.upgrade(url)
        logger.addHandler(heard)
        logger.setLevel(logging.DEBUG)
        try:
            with closing(Queue("orders", url)) as queue:
                scene(queue)
        finally:
            logger.setLevel(before)
            logger.removeHandler(heard)
    last = heard.lines[-1:]
    return [(level, _steady(line)) for level, line in last]


def _steady(line: str) -> str:
    return _TIME.sub("2026-11-27 09:30:00 UTC", line)


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


def _claimed(queue: Queue, **options: object) -> Claim:
    queue.push({"id": 1}, **options)  # type: ignore[call-overload]
    (claim,) = queue.claim_many(1, claimed_by="me")
    return claim


def _push_again(queue: Queue) -> None:
    queue.push(1, unique_key="order-1")
    queue.push(1, unique_key="order-1")


def _lose(queue: Queue) -> None:
    claim = _claimed(queue)
    queue.ack(claim)
    try:
        queue.ack(claim)
    except ClaimLostError:
        return


def _lapse(queue: Queue) -> None:
    queue.push(1)
    queue.claim(lease=_NOW)
    queue.expire()


def _die(queue: Queue) -> None:
    queue.release(_claimed(queue, max_attempts=1), error=TimeoutError())


def _redrive(queue: Queue) -> None:
    _die(queue)
    queue.redrive()


def _prune(queue: Queue) -> None:
    queue.ack(_claimed(queue))
    queue.prune(older_than=_NOW)


def _withdraw(queue: Queue) -> None:
    queue.push(1, unique_key="order-1")
    queue.withdraw(["order-1"])


def _pause(queue: Queue) -> None:
    queue.pause(by="ann@ops1", reason="the warehouse is being moved")


def _limit(queue: Queue) -> None:
    queue.limit(concurrency=3, rate=10, by="ann@ops1")


def _unpause(queue: Queue) -> None:
    _pause(queue)
    queue.unpause(by="ann@ops1")


def _limit_backlog(queue: Queue) -> None:
    queue.limit_backlog(max_backlog=1_000, on_full="wait", by="ann@ops1")


def _skip(queue: Queue) -> None:
    queue.push("one", max_backlog=1)
    queue.push("two", max_backlog=1, on_full="skip")


def _keep(queue: Queue) -> None:
    queue._queue.settle(verbs.NOTE_FAILURE, _claimed(queue), error=TimeoutError())


_SCENES: tuple[tuple[str, Callable[[Queue], object]], ...] = (
    ("A push.", lambda queue: queue.push(1)),
    ("A push of several.", lambda queue: queue.push_many(range(9))),
    ("A push under a key that is there already.", _push_again),
    ("A push with a delay.", lambda queue: queue.push(1, delay=timedelta(hours=1))),
    ("A claim.", _claimed),
    ("An ack.", lambda queue: queue.ack(_claimed(queue))),
    (
        "It failed, and rests before the next attempt.",
        lambda queue: queue.release(_claimed(queue), error=TimeoutError()),
    ),
    ("It failed for the last time. Mend the cause, then redrive it.", _die),
    ("It failed in an Airflow task, which keeps it for its own retry.", _keep),
    ("It was given back without an error.", lambda queue: queue.release(_claimed(queue))),
    (
        "It was given back, to be claimed later.",
        lambda queue: queue.release(_claimed(queue), delay=timedelta(minutes=5)),
    ),
    (
        "It was given back, and the attempt does not count.",
        lambda queue: queue.release(_claimed(queue), count=False),
    ),
    ("Its worker died, or took longer than its lease.", _lapse),
    ("Somebody settled a claim that was no longer theirs, and got a `ClaimLostError`.", _lose),
    ("Dead letters were given back to their queue.", _redrive),
    ("Consumed messages were deleted.", _prune),
    ("Messages were deleted that nobody had claimed.", _withdraw),
    ("Somebody paused the queue, which hands out nothing from then on.", _pause),
    ("Somebody let it go on.", _unpause),
    ("Somebody limited how many messages may wait, or let any number wait.", _limit_backlog),
    ("A push found the queue full, and waits for room or is skipped.", _skip),
    ("Somebody set the limits of the queue; none: it has none any more.", _limit),
)


# --------------------------------------------------------------------------------- all other lines


def lines_in_the_code() -> Iterator[Line]:
    """Yield every line of the log that stands in the package, but those of the verbs."""
    for path in sorted((SOURCES / "xclaim").rglob("*.py")):
        tree = ast.parse(path.read_text())
        module = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            for level, format_ in _formats(call):
                for text_ in _texts(format_, tree):
                    yield Line(level.upper(), text_, module)


def _formats(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Yield level and format of a call that logs, at once or when a timer has run out."""
    if _level(call.func):
        yield _level(call.func), call.args[0]
    for argument, after in zip(call.args, call.args[1:], strict=False):
        if _level(argument) and isinstance(after, ast.List):
            yield _level(argument), after.elts[0]


def _level(node: ast.expr) -> str:
    """Return the level at which a method of one of our loggers logs; else nothing."""
    if isinstance(node, ast.Attribute) and node.attr in LEVELS:
        return node.attr if ast.unparse(node.value) in _LOGGERS else ""
    return ""


def _texts(format_: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Yield what a format can be: itself, a constant of the module, or what a function is given."""
    if isinstance(format_, ast.Constant):
        yield str(format_.value)
    elif isinstance(format_, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "..." for part in format_.values
        )
    elif isinstance(format_, ast.Name):
        yield from _named(format_.id, tree)
    else:
        raise TypeError(f"the text of a log line is not to be found: {ast.unparse(format_)}")


def _named(name: str, tree: ast.Module) -> Iterator[str]:
    found = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            found = True
            yield from _texts(node.value, tree)
        elif isinstance(node, ast.FunctionDef) and name in (each.arg for each in node.args.args):
            found = True
            at = [each.arg for each in node.args.args].index(name)
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == node.name:
                    yield from _texts(call.args[at], tree)
    if not found:
        raise LookupError(f"the text of a log line is not to be found: {name}")
