"""What order costs: `python -m benchmarks.ordering [--before REV] [--page]`.

Rates: the same messages are pushed one by one and consumed one by one, plain, and in the order of
100 keys; by xclaim, and by the peers that keep an order: graphile-worker with its named queues,
procrastinate with locks, pgmq with groups. And those of one key, one by one and in batches of whole
lines. All of them take turns on one durable embedded PostgreSQL. The aims: keyed pushes at least
0.5 of plain ones, keyed claims and acks at least 0.7, and 5 times as many as the best peer. Who
consumes a message twice or not at all, or one of a key before an earlier one, ends the run.

Pages: those that a claim reads where a million keys have a message each, and where one key has a
million whose first is claimed. The aim: at most 40.

Plain queues: the microseconds of the server's processor for a message without a key, where ordering
is enabled, where it is not, and with ``--before`` in an earlier commit. The aim: within 2 % where
it is not enabled. Each side is there twice: how far the two are apart is what the machine makes.

``--page`` writes the rows that docs/benchmarks.md shows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.contenders import ORDERED_PEERS, XCLAIM
from benchmarks.contenders.contender import MissingError, OrderedSession
from benchmarks.crew import open_session
from benchmarks.figures import ORDERING, keep, record
from benchmarks.measuring import WrongResultError
from benchmarks.messages import payloads
from benchmarks.server import Server, run_server, settle
from benchmarks.sides.checkout import ROOT, earlier
from benchmarks.sides.process import Side, one_side
from xclaim import Queue, create_engine
from xclaim.operations import migrate, ordering
from xclaim.sql import full_names
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import claim

OUTPUT = ROOT / "benchmarks" / "output" / "ordering.json"
_KEYS = 100
_MESSAGES = 200  # of a lap, by whomever
_PLAIN = ", without keys"
_OF_A_LINE = 10  # in a batch
_ONE_KEY, _BATCHES = "one key", f"one key, in batches of {_OF_A_LINE}"
# Of the page, by the names of the sides: who has no message with a key.
_DISABLED, _ENABLED, _BEFORE = "disabled", "enabled", "before"
_BATCH = 10_000
_MOST_PAGES = 40
_WARM_UP = 2  # rounds
_OF_A_COST = 100  # messages

Rates = dict[str, float]
Taken = Mapping[str, Sequence[Rates]]  # by side, round by round


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    found: dict[str, Any] = {"machine": turns.machine()}
    with run_server(autovacuum="off") as server:
        rates = _rates(server, options.rounds)
        found["rates"] = _summary_of_rates(rates)
        print(json.dumps(found["rates"], indent=1), flush=True)
    # What is counted here does not hang on the disk.
    with run_server(autovacuum="off", synchronous_commit="off") as server:
        found["pages"] = _pages(server, options.messages)
        print(json.dumps(found["pages"], indent=1), flush=True)
        plain = _plain(server, options.before, options.rounds * 4)
        found["plain"] = _summary_of_plain(plain)
        print(json.dumps(found["plain"], indent=1), flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")
    if options.page:
        keep(ORDERING, records(rates, found["pages"], plain))


def records(
    rates: Taken, pages: Mapping[str, Mapping[str, float]], plain: Taken
) -> Iterator[dict[str, Any]]:
    """Yield what was reached, as docs/benchmarks.md shows it."""
    for part, workload in (("push", "ordering_push"), ("claim, ack", "ordering_claim_ack")):
        for name, of_one in rates.items():
            for number, each in enumerate(of_one):
                yield record(workload, name, number, {"messages/s": each[part]})
    for case, found in pages.items():
        yield record("ordering_pages", case, 0, {"pages": found["claim"]})
    for name, of_one in plain.items():
        for number, each in enumerate(of_one):
            figures = {f"{part} us": microseconds for part, microseconds in each.items()}
            yield record("ordering_plain", name, number, figures)


def _rates(server: Server, rounds: int) -> dict[str, list[Rates]]:
    """Return the rates of keyed messages by contender, and of plain ones of each."""
    with ExitStack() as stack:
        url = stack.enter_context(server.copy_of())
        migrate.upgrade(url)
        ordering.enable(url)
        contenders: dict[str, Callable[[], Rates]] = {
            name: partial(_lap, stack.enter_context(Queue(queue, url)), keys)
            for name, queue, keys in (
                (f"{XCLAIM}{_PLAIN}", "plain", None),
                (XCLAIM, "keyed", _KEYS),
            )
        }
        for name, consume in ((_ONE_KEY, _one_by_one), (_BATCHES, _in_batches)):
            queue = stack.enter_context(Queue(name, url))
            contenders[name] = partial(_lap, queue, 1, consume)
        for peer in ORDERED_PEERS:
            try:
                contenders |= _of_a_peer(server, peer, stack)
            except (ImportError, MissingError) as error:
                print(f"without {peer}: {error}")
        turns.by_turns(contenders, _WARM_UP)
        settle(url)
        return turns.by_turns(contenders, rounds)


def _summary_of_rates(taken: Taken) -> dict[str, Any]:
    plain = [(name, f"{name}{_PLAIN}") for name in taken if f"{name}{_PLAIN}" in taken]
    peers = [(XCLAIM, peer) for peer in ORDERED_PEERS if peer in taken]
    pairs = [*plain, *peers, (_BATCHES, _ONE_KEY)]
    return {
        part: {
            "per second": {
                name: turns.spread([each[part] for each in of_one], 0)
                for name, of_one in taken.items()
            },
            **{
                f"{ours} to {others}": turns.ratio(
                    [each[part] for each in taken[ours]], [each[part] for each in taken[others]]
                )
                for ours, others in pairs
            },
        }
        for part in ("push", "claim, ack")
    }


def _one_by_one(queue: Queue[Any]) -> list[int]:
    consumed = []
    while (claimed := queue.claim()) is not None:
        queue.ack(claimed)
        consumed.append(claimed.payload["n"])
    return consumed


def _in_batches(queue: Queue[Any]) -> list[int]:
    consumed = []
    while claims := queue.claim_many(_OF_A_LINE, whole_lines=True):
        queue.ack_many(claims)
        consumed += [claimed.payload["n"] for claimed in claims]
    return consumed


def _lap(
    queue: Queue[Any],
    keys: int | None,
    consume: Callable[[Queue[Any]], list[int]] = _one_by_one,
) -> Rates:
    """Push some messages one by one, consume them, and return how many in a second."""
    given = payloads(_MESSAGES)
    key_of = [None if keys is None else f"key {each['n'] % keys}" for each in given]
    began = time.perf_counter()
    for payload, key in zip(given, key_of, strict=True):
        queue.push(payload, ordering_key=key)
    pushed = time.perf_counter()
    consumed = consume(queue)
    ended = time.perf_counter()
    _check_order(consumed, _MESSAGES, keys or 1)
    return {"push": _MESSAGES / (pushed - began), "claim, ack": _MESSAGES / (ended - pushed)}


def _of_a_peer(server: Server, peer: str, stack: ExitStack) -> dict[str, Callable[[], Rates]]:
    laps: dict[str, Callable[[], Rates]] = {}
    for name, keys in ((f"{peer}{_PLAIN}", None), (peer, _KEYS)):
        url = stack.enter_context(server.database(peer))
        session: Any = stack.enter_context(open_session(peer, url))
        laps[name] = partial(_lap_of_a_peer, session, keys)
    return laps


def _lap_of_a_peer(session: OrderedSession, keys: int | None) -> Rates:
    given = payloads(_MESSAGES)
    began = time.perf_counter()
    if keys is None:
        session.push(given)
    else:
        session.push_ordered(given, keys)
    pushed = time.perf_counter()
    consumed = session.consume(_MESSAGES, 1) if keys is None else session.consume_ordered(_MESSAGES)
    ended = time.perf_counter()
    _check_order(consumed, _MESSAGES, keys or 1)
    return {"push": _MESSAGES / (pushed - began), "claim, ack": _MESSAGES / (ended - pushed)}


def _check_order(consumed: Sequence[int], count: int, keys: int) -> None:
    if sorted(consumed) != list(range(count)):
        raise WrongResultError(f"{len(set(consumed))} of {count} were consumed, not once each")
    for key in range(keys):
        of_key = [number for number in consumed if number % keys == key]
        if of_key != sorted(of_key):
            raise WrongResultError(f"key {key} was consumed in the order {of_key}")


def _pages(server: Server, messages: int) -> dict[str, Any]:
    """Return the pages of a claim with as many keys as messages, and with one key of all."""
    cases: Mapping[str, tuple[Callable[[int], str], bool]] = {
        f"{messages:,} keys": (lambda number: f"key {number}", False),
        f"one key of {messages:,}, its first claimed": (lambda _: "key", True),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (key_of, is_claimed) in cases.items():
        with server.copy_of() as url:
            migrate.upgrade(url)
            ordering.enable(url)
            with Queue("orders", url) as queue:
                _fill(queue, messages, key_of)
                settle(url)
                held = queue.claim() if is_claimed else None
                # Others are behind it: a claim has to find them.
                queue.push_many([{}] * _KEYS, ordering_keys=[f"other {n}" for n in range(_KEYS)])
                found[name] = {"claim": _pages_of_a_claim(url), "aim": _MOST_PAGES}
                if held is not None:
                    began = time.perf_counter()
                    queue.ack(held)
                    found[name]["ms of the ack that passes the turn"] = round(
                        (time.perf_counter() - began) * 1e3, 2
                    )
    return found


def _fill(queue: Queue[Any], messages: int, key_of: Callable[[int], str]) -> None:
    for first in range(0, messages, _BATCH):
        numbers = range(first, min(first + _BATCH, messages))
        keys = [key_of(number) for number in numbers]
        queue.push_many([{"n": number} for number in numbers], ordering_keys=keys)


def _pages_of_a_claim(url: str) -> int:
    """Return how many pages a claim reads that looks everywhere; it is rolled back."""
    statement = claim(message_table(), POSTGRESQL)
    parameters = {
        "queue_name": "orders",
        "claimant": "me",
        "key": None,
        "lease_seconds": 60.0,
        "token_secret": b"of this statement",
    }
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        sent = f"{explain}{statement.compile(dialect=full_names.dialect())}"
        cursor.execute(sent, parameters)  # it reads the catalog, too
        connection.rollback()
        cursor.execute(sent, parameters)
        (found,) = cursor.fetchall()[0][0]
        connection.rollback()
    engine.dispose()
    plan = found["Plan"]
    if plan["Actual Rows"] != 1:
        raise WrongResultError(f"the claim found nothing: {json.dumps(found)}")
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _plain(server: Server, before: str | None, rounds: int) -> dict[str, list[Rates]]:
    """Return the microseconds that a message without a key costs the server, on each side."""
    now = ROOT / "src"
    with ExitStack() as stack:
        then = stack.enter_context(earlier(before) if before else nullcontext(Path()))
        wanted = {
            _DISABLED: (now, False),
            f"{_DISABLED}, again": (now, False),
            _ENABLED: (now, True),
            **({_BEFORE: (then, False), f"{_BEFORE}, again": (then, False)} if before else {}),
        }
        sides = {
            name: stack.enter_context(_open(server, source, name, is_enabled=is_enabled))
            for name, (source, is_enabled) in wanted.items()
        }
        laps = {
            name: partial(side.ask, act="run", count=_OF_A_COST) for name, side in sides.items()
        }
        turns.by_turns(laps, _WARM_UP)
        taken = turns.by_turns(laps, rounds)
        for side in sides.values():
            side.ask(act="close")
    return taken


def _summary_of_plain(taken: Taken) -> dict[str, Any]:
    base = _BEFORE if _BEFORE in taken else _DISABLED
    return {
        part: {
            name: {
                "us": turns.spread([each[part] for each in of_one], 1),
                f"to {base}": turns.ratio(
                    [each[part] for each in of_one], [each[part] for each in taken[base]]
                ),
            }
            for name, of_one in taken.items()
        }
        for part in next(iter(taken.values()))[0]
    }


@contextmanager
def _open(server: Server, source: Path, name: str, *, is_enabled: bool) -> Iterator[Side]:
    with (
        server.copy_of() as url,
        one_side("benchmarks.sides.server_cost", source, name) as side,
    ):
        side.ask(act="open", url=url, is_enabled=is_enabled)
        yield side


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ordering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--before", metavar="REV", help="a commit without ordering keys")
    parser.add_argument("--rounds", type=int, default=15, help="of the rates (15)")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the pages (1,000,000)")
    parser.add_argument("--page", action="store_true", help="write rows of docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
