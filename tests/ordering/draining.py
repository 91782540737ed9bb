"""Consume all there is, one after the other: a key that is stuck leaves something behind."""

from __future__ import annotations

from typing import Any

from xclaim import Queue


def drained(queue: Queue) -> list[Any]:
    """Return the payloads of all that could be consumed, in their order."""
    consumed: list[Any] = []
    while True:
        claim = queue.claim()
        if claim is None and queue.expire() == 0:
            claim = queue.claim()
        if claim is None:
            return consumed
        consumed.append(claim.payload)
        queue.ack(claim)
