"""What the state machine draws from: few values, so that they meet; and how much it tries."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

HOUR = timedelta(hours=1)
NOW = timedelta(0)

queues = st.sampled_from(["orders", "orders", "parcels"])
payloads = st.sampled_from([1, 1, 2])
unique_keys = st.sampled_from([None, None, "a", "b", "c"])
claimants = st.sampled_from(["first", "second"])
claim_keys = st.sampled_from([None, None, "task"])
leases = st.sampled_from([HOUR, 2 * HOUR, NOW])
delays = st.sampled_from([None, None, HOUR])
priorities = st.sampled_from([0, 0, 5, -5])
limits_of_attempts = st.sampled_from([None, 1, 1, 2])
queues_in_use = st.runner().flatmap(lambda machine: st.sampled_from(machine.queues_in_use()))
items = st.tuples(payloads, unique_keys)

SETTINGS = settings(
    max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
ONCE = settings(SETTINGS, phases=[Phase.generate])  # the first failure will do, however long
