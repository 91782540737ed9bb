"""Each way of consuming that the blocking API offers; a loop returns how many messages it saw."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from tests.torture.consumer import BATCH, TURN, WAIT, Consumer, WorkFailedError
from tests.torture.logs import Event
from xclaim import ClaimLostError, Queue, ack, claim


def claim_and_ack(worker: Consumer) -> int:
    for seen in range(TURN):
        claimed = worker.queue.claim(wait=WAIT if seen == 0 else None, **worker.ask())
        if claimed is None:
            return seen
        worker.take([claimed])
        try:
            worker.work()
        except WorkFailedError:
            worker.log.settle(Event.RELEASING, [claimed])
            with suppress(ClaimLostError):
                worker.queue.release(claimed, error="the work failed")
            continue
        with worker.settling() as held:
            held.append(claimed)
            worker.log.settle(Event.ACKING, held)
            worker.queue.ack(claimed)
    return TURN


def claim_many_and_ack_many(worker: Consumer) -> int:
    claims = worker.queue.claim_many(BATCH, **worker.ask())
    worker.take(claims)
    with worker.settling() as held:
        for each in claims:
            try:
                worker.work()
            except WorkFailedError:
                continue  # comes back when its lease is over
            held.append(each)
        worker.log.settle(Event.ACKING, held)
        worker.queue.ack_many(held)
    return len(claims)


def consume(worker: Consumer) -> int:
    for seen in range(TURN):
        with worker.settling() as held, worker.queue.consume(**worker.ask()) as claimed:
            if claimed is None:
                return seen
            with worker.holding([claimed], held):
                worker.work()
                worker.log.settle(Event.ACKING, held)
    return TURN


def consume_many(worker: Consumer) -> int:
    options = worker.ask()
    with worker.settling() as held, worker.queue.consume_many(BATCH, **options) as claims:
        with worker.holding(claims, held):
            for _ in claims:
                worker.work()
            worker.log.settle(Event.ACKING, held)
        return len(claims)
    return 1  # the work failed


def transact(worker: Consumer) -> int:
    for seen in range(TURN):
        queue = worker.queue
        with worker.settling() as held, queue.transact(**worker.ask()) as (claimed, connection):
            if claimed is None:
                return seen
            with worker.holding([claimed], held):
                worker.write_effect(connection, claimed)
                worker.work()
                worker.log.settle(Event.ACKING, held)
    return TURN


def transact_by_hand(worker: Consumer) -> int:
    """Claim in one transaction of one's own and ack in the next, which writes the effect."""
    for seen in range(TURN):
        with worker.engine.begin() as connection:
            claimed = claim(connection, worker.queue.name, **worker.ask())
        if claimed is None:
            return seen
        worker.take([claimed])
        with worker.settling() as held, worker.giving_back([claimed]):
            held.append(claimed)
            worker.work()
            with worker.engine.begin() as connection:
                worker.write_effect(connection, claimed)
                worker.log.settle(Event.ACKING, held)
                ack(connection, claimed)
    return TURN


def consume_on_an_engine(worker: Consumer) -> int:
    """Consume with a queue on an engine of one's own, which others share."""
    own, worker.queue = worker.queue, Queue(worker.queue.name, worker.engine)
    try:
        return consume(worker)
    finally:
        worker.queue = own


def stream(worker: Consumer) -> int:
    seen, enough = 0, worker.random.randint(1, 6 * TURN)
    claims: Any = worker.queue.stream(batch=BATCH, **worker.ask())  # a generator
    with worker.settling() as held, closing(claims):
        for claimed in claims:
            worker.finish(held)
            worker.see([claimed])
            seen += 1
            try:
                with worker.giving_back([claimed]):
                    worker.work()
                    if seen == enough:
                        raise WorkFailedError
            except WorkFailedError:
                break
            held.append(claimed)
            worker.log.settle(Event.ACKING, [claimed])
    return seen


LOOPS: tuple[Callable[[Consumer], int], ...] = (
    claim_and_ack,
    claim_many_and_ack_many,
    consume,
    consume_many,
    consume_on_an_engine,
    transact,
    transact_by_hand,
    stream,
)
