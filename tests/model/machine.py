"""A machine that does whatever it likes, in the database and in the model, and compares.

Every example starts with an empty table. Claims are kept when they are lost, so that the machine
tries again and again to settle what is no longer its own. After each step all rows, their times,
the counts and what comes next are compared. A second passes between two steps, and hours in
`time_passes`; nobody sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tests.model import real_table
from tests.model.invariants import (
    FENCED,
    HONOURED,
    PROMISED,
    PUSHED_ONCE,
    BrokenPromiseError,
    require,
)
from tests.model.model import Row, differences
from xclaim import Claim, ClaimLostError, DuplicateMessageError, Message, Queue

AS_MODELLED = "the table is what the model says"
HOUR = timedelta(hours=1)
# The same examples in every run; nothing is kept on disk, nothing depends on the speed.
SETTINGS = settings(
    derandomize=True,
    max_examples=5,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ONCE = settings(SETTINGS, phases=[Phase.generate])  # the first failure will do, however long

queues = st.sampled_from(["orders", "parcels"])
queues_and_dead_letters = st.sampled_from(["orders", "parcels", "orders.dead", "parcels.dead"])
payloads = st.sampled_from([1, 2])
unique_keys = st.sampled_from([None, "a", "b"])
claimants = st.sampled_from(["first", "second"])
claim_keys = st.sampled_from([None, None, "task"])
leases = st.sampled_from([HOUR, 2 * HOUR, timedelta(0)])
delays = st.sampled_from([None, None, HOUR])


class TableMachine(RuleBasedStateMachine):
    """Does the same in the database and in the model."""

    claims = Bundle("claims")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._in_database(real_table.empty)
        self.model = self._in_database(real_table.read)
        self.tokens: set[object] = set()

    @rule(
        queue=queues,
        payload=payloads,
        unique_key=unique_keys,
        priority=st.sampled_from([0, 0, 5, -5]),
        delay=delays,
        max_attempts=st.sampled_from([None, 1, 2]),
    )
    def push(self, queue: str, payload: int, unique_key: str | None, **options: Any) -> None:
        known = self.model.keyed(queue, unique_key)
        push = partial(Queue(queue, self._engine).push, payload, unique_key=unique_key, **options)
        if known is not None and known.payload != payload:
            with pytest.raises(DuplicateMessageError) as raised:
                push()
            assert raised.value.unique_keys == [unique_key]
        elif known is not None:
            message = push()
            require(message.id == known.id, PUSHED_ONCE, f"{message.id} beside {known.id}")
        else:
            self._pushed(push(), **options)

    @rule(queue=queues, items=st.lists(st.tuples(payloads, unique_keys), max_size=3))
    def push_many(self, queue: str, items: list[tuple[int, str | None]]) -> None:
        push_many = partial(
            Queue(queue, self._engine).push_many,
            [payload for payload, _ in items],
            unique_keys=[key for _, key in items],
        )
        known = {key: self.model.keyed(queue, key) for _, key in items}
        payload_of = {key: row.payload for key, row in known.items() if row is not None}
        if any(key and payload_of.setdefault(key, payload) != payload for payload, key in items):
            with pytest.raises(DuplicateMessageError):
                push_many()
            return
        for message, (payload, key) in zip(push_many(), items, strict=True):
            assert (message.payload, message.unique_key) == (payload, key)
            if message.id not in self.model.rows:
                assert self.model.keyed(queue, key) is None
                self._pushed(message)

    @rule(
        target=claims,
        queue=queues_and_dead_letters,
        limit=st.integers(1, 3),
        claimed_by=claimants,
        claim_key=claim_keys,
        lease=leases,
    )
    def claim(self, queue: str, limit: int, lease: timedelta, **who: Any) -> Any:
        chosen = self.model.choose(queue, limit, **who)

        claimed = Queue(queue, self._engine).claim_many(limit, lease=lease, **who)

        assert [claim.message.id for claim in claimed] == [row.id for row in chosen]
        for claim, row in zip(claimed, chosen, strict=True):
            assert claim.token not in self.tokens, "a token is new with every claim"
            self.tokens.add(claim.token)
            self.model.claim(row, claim.token, lease, **who)
            assert claim.message.attempts == self.model.rows[row.id].attempts
        return multiple(*claimed)

    @rule(claim=claims)
    def ack(self, claim: Claim) -> None:
        self._settle(claim, self._queue_of(claim).ack, self.model.ack)

    @rule(claims=st.lists(claims, max_size=3))
    def ack_many(self, claims: list[Claim]) -> None:
        for queue in sorted({claim.message.queue for claim in claims}):
            of_queue = [claim for claim in claims if claim.message.queue == queue]
            lost = [claim for claim in of_queue if self.model.held_by(claim.token) is None]
            for row in filter(None, [self.model.held_by(claim.token) for claim in of_queue]):
                self.model.ack(row)
            self._lose(partial(Queue(queue, self._engine).ack_many, of_queue), lost)

    @rule(claim=claims, delay=delays, error=st.sampled_from([None, "boom"]), count=st.booleans())
    def release(self, claim: Claim, **options: Any) -> None:
        self._settle(
            claim,
            partial(self._queue_of(claim).release, **options),
            partial(self.model.release, **options),
        )

    @rule(claim=claims, lease=leases)
    def extend(self, claim: Claim, lease: timedelta) -> None:
        self._settle(
            claim,
            partial(self._queue_of(claim).extend, lease=lease),
            partial(self.model.extend, lease=lease),
        )

    @rule(queue=queues_and_dead_letters)
    def expire(self, queue: str) -> None:
        assert Queue(queue, self._engine).expire() == self.model.expire(queue)

    @rule(
        queue=queues,
        limit=st.sampled_from([None, 1]),
        to=st.sampled_from([None, None, "orders", "parcels"]),
    )
    def redrive(self, queue: str, **options: Any) -> None:
        assert Queue(queue, self._engine).redrive(**options) == self.model.redrive(queue, **options)

    @rule(queue=queues, older_than=st.sampled_from([timedelta(0), HOUR]))
    def prune(self, queue: str, older_than: timedelta) -> None:
        pruned = Queue(queue, self._engine).prune(older_than=older_than)
        assert pruned == self.model.prune(queue, older_than)

    @rule(queue=queues, keys=st.lists(st.sampled_from(["a", "b"]), max_size=2))
    def withdraw(self, queue: str, keys: list[str]) -> None:
        assert Queue(queue, self._engine).withdraw(keys) == self.model.withdraw(queue, keys)

    @rule(hours=st.integers(1, 2))
    def time_passes(self, hours: int) -> None:
        self._age(hours * HOUR)

    @invariant()
    def the_table_is_what_the_model_says(self) -> None:
        real = self._in_database(real_table.read)
        rows = real_table.on_the_clock_of(self.model, real)
        changes = differences(rows, self.model.rows)
        require(not changes, AS_MODELLED, changes)
        for name in ("orders", "parcels", "orders.dead"):
            queue = Queue(name, self._engine)
            assert queue.counts() == self.model.counts(name)
            upcoming = [message.id for message in queue.peek(100)]
            assert upcoming == [row.id for row in self.model.claimable(name)]
        # So that the order of two steps never hangs on the milliseconds between them.
        self._age(timedelta(seconds=1))

    def _pushed(
        self,
        message: Message,
        *,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
    ) -> None:
        assert message.id > max(self.model.rows, default=0)
        row = Row(
            id=message.id,
            queue=message.queue,
            origin_queue=message.queue,
            priority=priority,
            payload=message.payload,
            unique_key=message.unique_key,
            max_attempts=max_attempts,
            available_at=self.model.now + (delay or timedelta(0)),
        )
        self.model.push(row)

    def _settle(
        self, claim: Claim, real: Callable[[Claim], object], expected: Callable[[Row], object]
    ) -> None:
        row = self.model.held_by(claim.token)
        self._lose(partial(real, claim), [claim] if row is None else [])
        if row is not None:
            expected(row)

    def _lose(self, settle: Callable[[], object], lost: list[Claim]) -> None:
        refused: set[UUID] = set()
        try:
            settle()
        except ClaimLostError as error:
            refused = {claim.token for claim in error.claims}
        except DBAPIError as error:
            raise BrokenPromiseError(FENCED if lost else PROMISED, error) from error
        stale = {claim.token for claim in lost}
        require(refused >= stale, FENCED, f"not refused: {stale - refused}")
        require(refused <= stale, HONOURED, f"refused: {refused - stale}")

    def _queue_of(self, claim: Claim) -> Queue:
        return Queue(claim.message.queue, self._engine)

    def _age(self, by: timedelta) -> None:
        self._in_database(partial(real_table.age, by=by))
        self.model.now += by

    def _in_database(self, function: Callable[[Connection], Any]) -> Any:
        with self._engine.begin() as connection:
            return function(connection)
