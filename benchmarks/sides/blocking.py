"""The laps with Queue, by the public API that older commits have as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import xclaim
from benchmarks.contenders.contender import Payload
from benchmarks.sides.laps import BATCH
from xclaim import Queue


class BlockingRunner:
    """A queue made from a URL, and its laps."""

    def __init__(self, url: str, consume: str) -> None:
        # What failed may come back at once, as it did before there was a Retry.
        retry = getattr(xclaim, "Retry", None)
        options = {"retry": retry(first=timedelta(0))} if retry else {}
        self._queue = Queue("orders", url, **options)
        self._threads = ThreadPoolExecutor(2)
        self._consume: Callable[[], list[int]] = getattr(self, f"_{consume}")

    def push(self, payloads: Sequence[Payload]) -> int:
        """Push the payloads one by one, and return how many messages came back."""
        return len([self._queue.push(payload) for payload in payloads])

    def push_many(self, chunks: Sequence[Sequence[Payload]]) -> int:
        """Push chunk by chunk, and return how many messages came back."""
        return sum(len(self._queue.push_many(chunk)) for chunk in chunks)

    def consume(self) -> list[int]:
        """Consume all there is, and return the numbers of the payloads."""
        return self._consume()

    def counts(self) -> Any:
        """Count the queue's messages by state."""
        return self._queue.counts()

    def close(self) -> None:
        """Close the queue."""
        self._threads.shutdown()
        self._queue.close()

    def _one_by_one(self) -> list[int]:
        consumed = []
        while (claim := self._queue.claim()) is not None:
            consumed.append(claim.payload["n"])
            self._queue.ack(claim)
        return consumed

    def _in_batches(self) -> list[int]:
        consumed = []
        while claims := self._queue.claim_many(BATCH):
            consumed += [claim.payload["n"] for claim in claims]
            self._queue.ack_many(claims)
        return consumed

    def _by_stream(self) -> list[int]:
        return [claim.payload["n"] for claim in self._queue.stream(batch=BATCH)]

    def _in_transactions(self) -> list[int]:
        consumed: list[int] = []
        while True:
            with self._queue.transact() as (claim, _connection):
                if claim is None:
                    return consumed
                consumed.append(claim.payload["n"])

    def _by_failing_once(self) -> list[int]:
        """Release each message with an error before it is consumed."""
        error = ValueError("the work on this message has failed")
        for claim in self._queue.claim_many(BATCH):
            self._queue.release(claim, error=error)
        return self._in_batches()

    def _by_two_threads(self) -> list[int]:
        halves = [self._threads.submit(self._one_by_one) for _ in range(2)]
        return [number for half in halves for number in half.result()]
