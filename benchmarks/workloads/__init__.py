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

_PARTS = {
    "claim_ack_": "claim_ack",
    "batch_": "batches",
    "connections_": "connections",
    "wake_up": "wake_ups",
    "notify_push": "wake_ups",
    "delayed_": "delayed",
    "pinned": "pinned",
    "unpinned": "pinned",
    "growth_": "growth",
}


# What is no workload of this run: the module that measures it, and what is done.
_OF_THEIR_OWN = {
    "in_airflow": ("in_airflow", "1,000 messages through eight mapped tasks of a real Airflow."),
    "steady_held": ("steady", "A steady rate of pushes to those who wait; a snapshot is open."),
    "steady_come_and_go": ("steady", "The same, while readers take snapshots in turn."),
    "steady": ("steady", "A steady rate of pushes to those who wait: how long to their claims."),
    "lapsed": ("steady", "Claim where 20,000 claims have lapsed: how long each claim takes."),
    "ordering_push": ("ordering", "Push one by one, with one of 100 ordering keys."),
    "ordering_claim_ack": ("ordering", "Claim and ack one by one, in the order of 100 keys."),
    "ordering_pages": ("ordering", "The pages that a claim reads among a million messages."),
    "ordering_plain": ("ordering", "The server's processor for a message without a key."),
    "crowd_": ("concurrency", "So many workers claim and ack on one queue for some seconds."),
}


def title(name: str) -> str:
    """Return what a workload, or a part of one, does."""
    for prefix, (module, text) in _OF_THEIR_OWN.items():
        if name.startswith(prefix):
            return f"{text} Measured by a run of its own, `python -m benchmarks.{module}`."
    for prefix, workload in _PARTS.items():
        if name.startswith(prefix):
            return _first_line(workload)
    return _first_line(name)


def _first_line(workload: str) -> str:
    return (WORKLOADS[workload].__doc__ or "").splitlines()[0]
