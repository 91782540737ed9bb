"""A machine that does whatever it likes, in the database and in the model, and compares.

Every example starts with an empty table. Claims are kept when they are lost, so that the machine
tries again and again to settle what is no longer its own. After each step all rows, their times,
the counts and what comes next are compared. A second passes between two steps, and hours in
`time_passes`; nobody sleeps. A pause is drawn by the client: when its bounds have been checked, it
is set to the longest that it may be, so that the model knows when it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tests.model import real_table, resting
from tests.model import strategies as draw
from tests.model.model import Row, differences
from tests.model.promises import (
    AS_MODELLED,
    FENCED,
    HONOURED,
    PROMISED,
    PUSHED_ONCE,
    BrokenPromiseError,
    require,
)
from xclaim import Claim, ClaimLostError, DuplicateMessageError, Message, Queue, Retry, Status
from xclaim.operations import ordering
from xclaim.verbs.settling import note_failure

Rule = TypeVar("Rule", bound=Callable[..., Any])


def _when(condition: Callable[[Row], object]) -> Callable[[Rule], Rule]:
    """Let a rule wait for a message that it can do something to."""
    return precondition(lambda machine: any(map(condition, machine.model.rows.values())))


class TableMachine(RuleBasedStateMachine):
    """Does the same in the database and in the model."""

    claims = Bundle("claims")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._in_database(real_table.empty)
        self.model = self._in_database(real_table.read)
        self._seen = dict(self.model.rows)  # when it was last looked at
        self.tokens: set[object] = set()

    @rule(
        queue=draw.queues,
        payload=draw.payloads,
        unique_key=draw.unique_keys,
        priority=draw.priorities,
        delay=draw.delays,
        max_attempts=draw.limits_of_attempts,
        order=draw.orders,
    )
    def push(
        self, queue: str, payload: int, unique_key: str | None, order: draw.Order, **options: Any
    ) -> None:
        options |= order
        push = partial(Queue(queue, self._engine).push, payload, unique_key=unique_key, **options)
        known = self.model.keyed(queue, unique_key)
        if known is not None and known.payload != payload:
            self._refused(push, {unique_key})
        else:
            self._pushed(push(), **options)

    @initialize(
        queue=draw.queues,
        items=st.lists(draw.items, min_size=2, max_size=4),
        max_attempts=draw.limits_of_attempts,
    )
    def push_the_first(self, **arguments: Any) -> None:
        self._push_many(**arguments)

    @rule(
        queue=draw.queues,
        items=st.lists(draw.items, max_size=3),
        priority=draw.priorities,
        max_attempts=draw.limits_of_attempts,
    )
    def push_many(self, **arguments: Any) -> None:
        self._push_many(**arguments)

    def _push_many(self, queue: str, items: list[draw.Item], **options: Any) -> None:
        push_many = partial(
            Queue(queue, self._engine).push_many,
            [payload for payload, _, _ in items],
            unique_keys=[key for _, key, _ in items],
            ordering_keys=[ordering_key for _, _, ordering_key in items],
            **options,
        )
        payload_of = {row.unique_key: row.payload for row in self.model.pushed_to(queue)}
        others = {
            key for payload, key, _ in items if payload_of.setdefault(key, payload) != payload
        }
        if others - {None}:
            self._refused(push_many, others)
            return
        for message, (payload, key, ordering_key) in zip(push_many(), items, strict=True):
            assert (message.payload, message.unique_key) == (payload, key)
            self._pushed(message, ordering_key=ordering_key, **options)

    @_when(bool)
    @rule(
        target=claims,
        queue=draw.queues_in_use,
        limit=st.integers(1, 3),
        claimed_by=draw.claimants,
        claim_key=draw.claim_keys,
        lease=draw.leases,
        retry=draw.retries,
    )
    def claim_many(self, queue: str, limit: int, lease: timedelta, retry: Retry, **who: Any) -> Any:
        chosen = self.model.choose(queue, limit, **who, retry=retry)
        claims = Queue(queue, self._engine, retry=retry).claim_many(limit, lease=lease, **who)
        self._claimed(claims, chosen, lease, **who)
        return multiple(*claims)

    @_when(lambda row: row.status is Status.AVAILABLE)
    @rule(target=claims, queue=draw.queues_in_use, claimed_by=draw.claimants, lease=draw.leases)
    def claim(self, queue: str, lease: timedelta, claimed_by: str) -> Any:
        chosen = self.model.choose(queue, 1, claimed_by, None, draw.hourly)
        claim = Queue(queue, self._engine, retry=draw.hourly).claim(
            lease=lease, claimed_by=claimed_by
        )
        claims = [] if claim is None else [claim]
        self._claimed(claims, chosen, lease, claimed_by=claimed_by, claim_key=None)
        return multiple(*claims)

    @rule(claim=claims)
    def ack(self, claim: Claim) -> None:
        self._settle(claim, self._queue_of(claim).ack, self.model.ack)

    @rule(claims=st.lists(claims, min_size=1, max_size=3))
    def ack_many(self, claims: list[Claim]) -> None:
        for queue in sorted({claim.message.queue for claim in claims}):
            of_queue = [claim for claim in claims if claim.message.queue == queue]
            lost = [claim for claim in of_queue if self.model.held_by(claim.token) is None]
            for row in filter(None, [self.model.held_by(claim.token) for claim in of_queue]):
                self.model.ack(row)
            self._lose(partial(Queue(queue, self._engine).ack_many, of_queue), lost)

    @rule(
        claim=claims,
        delay=draw.delays,
        error=draw.errors,
        count=st.booleans(),
        retry=draw.retries,
    )
    def release(self, claim: Claim, **options: Any) -> None:
        self._release(claim, **options)

    @rule(claim=claims, error=draw.errors.filter(bool), retry=draw.retries)
    def fail(self, claim: Claim, **options: Any) -> None:
        self._release(claim, delay=None, count=True, **options)

    def _release(self, claim: Claim, retry: Retry, **options: Any) -> None:
        queue = Queue(claim.message.queue, self._engine, retry=retry)
        self._settle(
            claim,
            partial(queue.release, **options),
            partial(self.model.release, **options, retry=retry),
        )

    @rule(claim=claims, error=draw.errors.filter(bool), lease=draw.leases)
    def note_failure(self, claim: Claim, **options: Any) -> None:
        self._settle(
            claim,
            lambda claim: self._in_database(partial(note_failure, claim=claim, **options)),
            partial(self.model.note_failure, **options),
        )

    @_when(lambda row: row.status is Status.AVAILABLE)
    @rule(queue=draw.queues_in_use, times=st.sampled_from([2, 21]))
    def fail_again_and_again(self, queue: str, times: int) -> None:
        for row in [] if queue in self.model.paused else self.model.claimable(queue)[:1]:
            for _ in range(times):
                self._fail(queue, row.id)

    def _fail(self, name: str, id_: int) -> None:
        queue = Queue(name, self._engine, retry=draw.FOR_EVER)
        claim = queue.claim_message(id_, claimed_by="first", lease=draw.HOUR)
        claims = [] if claim is None else [claim]
        who: dict[str, Any] = {"claimed_by": "first", "claim_key": None}
        self._claimed(claims, [self.model.rows[id_]], draw.HOUR, **who)
        queue.release(claims[0], error="again")
        self.model.release(self.model.rows[id_], None, "again", count=True, retry=draw.FOR_EVER)

    @rule(claim=claims, lease=draw.leases)
    def extend(self, claim: Claim, lease: timedelta) -> None:
        self._settle(
            claim,
            partial(self._queue_of(claim).extend, lease=lease),
            partial(self.model.extend, lease=lease),
        )

    @_when(lambda row: row.claim_token)
    @rule(queue=draw.queues_in_use, retry=draw.retries)
    def expire(self, queue: str, retry: Retry) -> None:
        expired = Queue(queue, self._engine, retry=retry).expire()
        assert expired == self.model.expire(queue, retry)

    @_when(lambda row: row.queue.endswith(".dead"))
    @rule(
        queue=draw.queues,
        limit=st.sampled_from([None, 1]),
        to=st.sampled_from([None, None, "orders", "parcels"]),
    )
    def redrive(self, queue: str, **options: Any) -> None:
        assert Queue(queue, self._engine).redrive(**options) == self.model.redrive(queue, **options)

    @_when(lambda row: row.consumed_at)
    @rule(queue=draw.queues, older_than=st.sampled_from([draw.NOW, draw.HOUR]))
    def prune(self, queue: str, older_than: timedelta) -> None:
        pruned = Queue(queue, self._engine).prune(older_than=older_than)
        assert pruned == self.model.prune(queue, older_than)

    @_when(lambda row: row.unique_key)
    @rule(queue=draw.queues, keys=st.lists(st.sampled_from(["a", "b"]), max_size=2))
    def withdraw(self, queue: str, keys: list[str]) -> None:
        assert Queue(queue, self._engine).withdraw(keys) == self.model.withdraw(queue, keys)

    # One at a time: where most queues are paused, little else is seen to happen.
    @precondition(lambda machine: machine.model.rows and not machine.model.paused)
    @rule(queue=draw.queues_in_use)
    def pause(self, queue: str) -> None:
        self.model.pause(queue)
        assert Queue(queue, self._engine).pause(by="ann").paused_by == "ann"

    @precondition(lambda machine: machine.model.paused)
    @rule(queue=st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.model.paused))))
    def unpause(self, queue: str) -> None:
        assert Queue(queue, self._engine).unpause() == self.model.unpause(queue)

    @_when(bool)
    @rule(hours=st.integers(1, 2))
    def time_passes(self, hours: int) -> None:
        self._age(hours * draw.HOUR)

    @invariant()
    def the_table_is_what_the_model_says(self) -> None:
        real = self._in_database(real_table.read)
        resting.check(
            self.model.rows,
            self._seen,
            real.rows,
            tolerance=draw.TOLERANCE,
            shift=real.now - self.model.now,
        )
        rows = real_table.on_the_clock_of(self.model, real)
        changes = differences(rows, self.model.rows)
        require(not changes, AS_MODELLED, changes)
        self._know_the_pauses()
        for name in ("orders", "orders.dead"):
            queue = Queue(name, self._engine)
            assert queue.counts() == self.model.counts(name)
            upcoming = [message.id for message in queue.peek(100)]
            assert upcoming == [row.id for row in self.model.claimable(name)]
        # So that the order of two steps never hangs on the milliseconds between them.
        self._age(timedelta(seconds=1))

    def queues_in_use(self) -> list[str]:
        """Return the queues that have messages."""
        return sorted({row.queue for row in self.model.rows.values()})

    def _pushed(
        self,
        message: Message,
        *,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
        ordering_key: str | None = None,
        on_dead: str = "skip",
    ) -> None:
        known = self.model.keyed(message.origin_queue, message.unique_key)
        if known is not None:
            require(message.id == known.id, PUSHED_ONCE, f"{message.id} beside {known.id}")
            return
        assert message.id > max(self.model.rows, default=0)
        row = Row(
            id=message.id,
            queue=message.queue,
            origin_queue=message.queue,
            priority=priority,
            payload=message.payload,
            unique_key=message.unique_key,
            max_attempts=max_attempts,
            ordering_key=ordering_key,
            holds_when_dead=on_dead == "hold",
            available_at=self.model.now + (delay or timedelta(0)),
        )
        self.model.push(row)

    def _refused(self, push: Callable[[], object], unique_keys: set[str | None]) -> None:
        named: list[str] = []
        try:
            push()
        except DuplicateMessageError as error:
            named = error.unique_keys
        is_right = bool(named) and unique_keys.issuperset(named)
        require(is_right, PUSHED_ONCE, f"{named} refused, not {unique_keys}")

    def _claimed(
        self, claims: list[Claim], chosen: list[Row], lease: timedelta, **who: Any
    ) -> None:
        found, there = [each.message.id for each in claims], [row.id for row in chosen]
        require(found == there, AS_MODELLED, f"claimed {found}, and should have claimed {there}")
        for claim, row in zip(claims, chosen, strict=True):
            assert claim.token not in self.tokens, "a token is new with every claim"
            self.tokens.add(claim.token)
            self.model.claim(row, claim.token, lease, **who)
            assert claim.message.attempts == self.model.rows[row.id].attempts

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

    def _know_the_pauses(self) -> None:
        """Put what is available at another time now to the time of the model."""
        pauses: dict[int, timedelta] = {}
        for id_, row in self.model.rows.items():
            if id_ in self._seen and row.available_at != self._seen[id_].available_at:
                if row.available_at is None:  # a dead letter that is back in line
                    continue
                pause = row.available_at - self.model.now
                pauses[id_] = max(pause, draw.HOUR) if pause > draw.NOW else pause
                known = self.model.now + pauses[id_]
                self.model.rows[id_] = replace(row, available_at=known, rest=None)
        if pauses:
            self._in_database(partial(real_table.postpone, pauses=pauses))
        self._seen = dict(self.model.rows)

    def _age(self, by: timedelta) -> None:
        self._in_database(partial(real_table.age, by=by))
        self.model.now += by

    def _in_database(self, function: Callable[[Connection], Any]) -> Any:
        with self._engine.begin() as connection:
            return function(connection)


def run(engine: Engine, much: settings) -> None:
    """Run the machine on a database, so often and so long."""
    ordering.enable(engine)
    factory: Any = partial(TableMachine, engine)
    run_state_machine_as_test(factory, settings=much)
