"""Rounds of small payloads, in a process of their own: `python -m benchmarks.payload_rounds`.

``payload_cost`` runs it, also with an earlier xclaim on the path: so it imports no more of the
benchmarks than the sides' modules, and asks xclaim for nothing new unless a storage is named. It
answers each round, of a contender and a shape, with the seconds and the processor's seconds.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.sides.migrating import upgrade
from benchmarks.sides.process import serve
from xclaim import Queue

ONE_BY_ONE, BATCHES_OF_100, BATCHES_OF_1000 = "one by one", "batches of 100", "batches of 1,000"
# How many messages a round has, and how many of them go together.
# Short rounds, so that what else the machine does meets all contenders alike.
SHAPES = {ONE_BY_ONE: (50, 1), BATCHES_OF_100: (600, 100), BATCHES_OF_1000: (2_000, 1_000)}


def main() -> None:
    """Migrate the databases, then run what is asked for, round after round."""
    queues = {name: _queue(**options) for name, options in json.loads(sys.argv[1]).items()}
    serve({"round": lambda name, shape: _measured(queues[name], *SHAPES[shape])})


def _queue(url: str, storage: str | None = None) -> Any:
    upgrade(url)
    if storage is None:
        return Queue("orders", url)
    from xclaim import Payloads

    return Queue("orders", url, payloads=Payloads(storage=storage))


def _measured(queue: Any, count: int, together: int) -> tuple[float, float]:
    # About 100 bytes as JSON.
    payloads = [{"order": number, "note": "x" * 80} for number in range(count)]
    work: Callable[[], None] = (
        (lambda: _one_by_one(queue, payloads))
        if together == 1
        else (lambda: _in_batches(queue, payloads, together))
    )
    gc.collect()
    gc.disable()  # a collection takes as long as a round's messages, and is nobody's
    began, used = time.perf_counter(), time.process_time()
    work()
    took = time.perf_counter() - began, time.process_time() - used
    gc.enable()
    return took


def _one_by_one(queue: Any, payloads: list[Any]) -> None:
    for payload in payloads:
        queue.push(payload)
        claim = queue.claim()
        _check(claim.payload == payload)
        queue.ack(claim)


def _in_batches(queue: Any, payloads: list[Any], together: int) -> None:
    for first in range(0, len(payloads), together):
        pushed = payloads[first : first + together]
        queue.push_many(pushed)
        claims = queue.claim_many(together)
        _check([claim.payload for claim in claims] == pushed)
        queue.ack_many(claims)


def _check(is_right: bool) -> None:  # noqa: FBT001  (an assertion)
    if not is_right:
        raise AssertionError("another payload was claimed than was pushed")


if __name__ == "__main__":
    main()
