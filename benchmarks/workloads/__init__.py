"""The workloads, in the order in which they run. To add one, write a function and name it here."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring import Context
from benchmarks.workloads import cost, growth, latency, throughput

WORKLOADS: dict[str, Callable[[Context], None]] = {
    "push_one": throughput.push_one,
    "push_many": throughput.push_many,
    "claim_ack": throughput.claim_ack,
    "batches": throughput.batches,
    "connections": latency.connections,
    "wal": cost.wal,
    "wake_ups": latency.wake_ups,
    "priorities": latency.priorities,
    "idle_waiters": latency.idle_waiters,
    "delayed": growth.delayed,
    "pinned": growth.pinned,
    "growth": growth.growth,
    "sqlite": throughput.sqlite,
}
