"""What the state machine draws from: few values, so that they meet; and how much it tries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypedDict

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.retrying import AT_ONCE
from xclaim import Retry


class Order(TypedDict, total=False):
    """What a push says of its order."""

    ordering_key: str
    on_dead: str


Item = tuple[int, str | None, str | None]  # a payload, a unique key, an ordering key

HOUR = timedelta(hours=1)
NOW = timedelta(0)
TOLERANCE = timedelta(minutes=1)  # of the clocks: far less than the pauses here
FOR_EVER = Retry(first=NOW, max_attempts=None)

queues = st.sampled_from(["orders", "orders", "parcels"])
payloads = st.sampled_from([1, 1, 2])
unique_keys = st.sampled_from([None, None, "a", "b", "c"])
claimants = st.sampled_from(["first", "second"])
claim_keys = st.sampled_from([None, None, "task"])
leases = st.sampled_from([HOUR, 2 * HOUR, NOW])
delays = st.sampled_from([None, None, HOUR])
priorities = st.sampled_from([0, 0, 5, -5])
limits_of_attempts = st.sampled_from([None, 1, 2, 20])
errors = st.sampled_from([None, "boom", ValueError("boom")])
# Pauses end between the hours that pass. Those of the default end between the seconds of the steps:
# a claim that gives back what lapsed would find it or not, as the pause is drawn.
hourly = Retry(first=HOUR, most=4 * HOUR, jitter=0.2)
retries = st.sampled_from([hourly, hourly, AT_ONCE, replace(hourly, max_attempts=2), FOR_EVER])
queues_in_use = st.runner().flatmap(lambda machine: st.sampled_from(machine.queues_in_use()))
ordering_keys = st.sampled_from([None, None, "k", "l"])
orders = st.sampled_from(
    [
        Order(),
        Order(),
        Order(ordering_key="k"),
        Order(ordering_key="l"),
        Order(ordering_key="k", on_dead="hold"),
    ]
)
items = st.tuples(payloads, unique_keys, ordering_keys)

SETTINGS = settings(
    max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
# For what must be found: the first failure will do, however long, and it may need many tries.
ONCE = settings(SETTINGS, phases=[Phase.generate], max_examples=1000)
