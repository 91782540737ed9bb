"""What is measured against an earlier commit: laps, each pushing messages and consuming them all.

Nothing of xclaim is imported here: the driver and both sides read the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

QUEUE, ASYNC_QUEUE = "Queue", "AsyncQueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """Push so many messages, ``together`` at a time, then consume them in some way.

    Both are timed; ``rows`` names the figures that are shown, for pushing and for consuming.
    """

    name: str  # how it consumes: a function of ``blocking`` and ``awaiting``
    messages: int
    together: int
    rows: dict[str, str]
    facades: tuple[str, ...] = (QUEUE, ASYNC_QUEUE)


PUSH, CONSUME = "push", "consume"
PARTS = (PUSH, CONSUME)

# Short laps, so that what else the machine does meets both sides alike.
LAPS = (
    Lap(
        name="one_by_one",
        messages=50,
        together=1,
        rows={PUSH: "push_one", CONSUME: "claim_ack"},
    ),
    Lap(
        name="in_batches",
        messages=1_000,
        together=100,
        rows={PUSH: "push_100", CONSUME: "batch_100"},
    ),
    Lap(
        name="by_stream",
        messages=2_000,
        together=1_000,
        rows={PUSH: "push_1000", CONSUME: "stream_100"},
    ),
    Lap(
        name="in_transactions",
        messages=30,
        together=30,
        rows={CONSUME: "transact"},
        facades=(QUEUE,),
    ),
    Lap(
        name="by_failing_once",
        messages=50,
        together=50,
        rows={CONSUME: "release_error"},
        facades=(QUEUE,),
    ),
    Lap(
        name="by_two_threads",
        messages=60,
        together=60,
        rows={CONSUME: "claim_ack_2_threads"},
        facades=(QUEUE,),
    ),
)
BATCH = 100
ROWS = tuple(row for lap in LAPS for row in lap.rows.values())


def named(name: str) -> Lap:
    """Return the lap of a name."""
    (lap,) = (each for each in LAPS if each.name == name)
    return lap
