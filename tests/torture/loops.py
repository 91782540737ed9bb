"""Each way of consuming that the blocking API offers; a loop returns how many messages it saw."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.torture.consumer import (
    BATCH,
    RETRY,
    TURN,
    WAIT,
    Consumer,
    PoisonError,
    WorkFailedError,
)
from tests.torture.logs import Event
from xclaim import Queue, ack


def claim_and_ack(worker: Consumer) -> int:
    for seen in range(TURN):
        claimed = worker.queue.claim(wait=WAIT if seen == 0 else None, **worker.ask())
        if claimed is None:
            return seen
        worker.take([claimed])
        try:
            worker.work(claimed)
        except WorkFailedError as error:
            with worker.failing(claimed):
                worker.queue.release(claimed, error=error)
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
                worker.work(each)
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
                worker.work(claimed)
                worker.log.settle(Event.ACKING, held)
    return TURN


def consume_many(worker: Consumer) -> int:
    options = worker.ask()
    with worker.settling() as held, worker.queue.consume_many(BATCH, **options) as claims:
        with worker.holding(claims, held):
            for each in claims:
                try:
                    worker.work(each)
                except PoisonError as error:
                    held.remove(each)
                    with worker.failing(each):  # and the others are acked
                        worker.queue.release(each, error=error)
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
                worker.work(claimed)
                worker.log.settle(Event.ACKING, held)
    return TURN


def transact_by_hand(worker: Consumer) -> int:
    """Claim in one transaction of one's own and ack in the next, which writes the effect."""
    for seen in range(TURN):
        with worker.engine.begin() as connection:
            bound = Queue(worker.queue.name, connection, retry=RETRY)
            claimed = bound.claim(**worker.ask())
        if claimed is None:
            return seen
        worker.take([claimed])
        with worker.settling() as held, worker.giving_back([claimed]):
            held.append(claimed)
            worker.work(claimed)
            with worker.engine.begin() as connection:
                worker.write_effect(connection, claimed)
                worker.log.settle(Event.ACKING, held)
                ack(connection, claimed)
    return TURN


def consume_on_an_engine(worker: Consumer) -> int:
    """Consume with a queue on an engine of one's own, which others share."""
    own, worker.queue = worker.queue, Queue(worker.queue.name, worker.engine, retry=RETRY)
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
                    worker.work(claimed)
                    if seen == enough:
                        raise WorkFailedError
            except PoisonError as error:
                with worker.failing(claimed):
                    worker.queue.release(claimed, error=error)
                continue
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
