"""XclaimHook: the queue from within Airflow.

Importing this module imports nothing of the database world, so that a DAG file may name the hook
at its top: the core is loaded when a queue is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import xclaim.airflow.versions  # noqa: F401  (refuses an Airflow that is too old)

from airflow.sdk import BaseHook

from xclaim.airflow.lineage import LineageReports
from xclaim.airflow.tasks.failing import OnDead, OnError, checked_on_error
from xclaim.airflow.tasks.identity import current_task
from xclaim.airflow.tasks.tickets import (
    TICKET_LEASE,
    TicketLostForGoodError,
    checked_batches,
    claimed_ticket,
    ticket_from_xcom,
    was_settled,
)
from xclaim.arguments import LEASE, LEASE_LIMIT
from xclaim.retry import RETRY, Retry

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim import Claim, Payloads
    from xclaim.airflow.connections import Database
    from xclaim.airflow.tasks.task_queue import TaskQueue
    from xclaim.message import T_co
    from xclaim.queues.placing import Placed, Split


class XclaimHook(BaseHook):
    """Queues behind an Airflow connection, and the tickets that tasks hand on.

    ``hook.queue("orders")`` has the methods of a ``Queue`` and knows the running task: it fills in
    who claims, a claim key, lineage and unique keys. Outside a task it fills in nothing. A
    connection with the extra ``xclaim_places`` says by the queue's name behind which other one it
    is, and with ``xclaim_parts`` which queues are split.

    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite.
    :param payloads: how payloads are stored; by default each setting is as the connection's extras
        say (``xclaim_storage``, ``xclaim_storage_threshold``, ``xclaim_storage_options``,
        ``xclaim_max_in_row``, ``xclaim_encryption``, ``xclaim_allow_unencrypted``), else as the
        environment says.
    :param fallback: options of ``Payloads`` for what neither of them says.
    """

    conn_name_attr = "xclaim_conn_id"
    default_conn_name = "xclaim_default"
    conn_type = "xclaim"
    hook_name = "xclaim"

    def __init__(
        self,
        xclaim_conn_id: str = default_conn_name,
        *,
        payloads: Payloads | None = None,
        fallback: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.xclaim_conn_id = xclaim_conn_id
        self._payloads = payloads
        self._fallback = fallback or {}
        self._asked: Any = None  # the connection
        self._found: Database | None = None
        self._places: dict[str, XclaimHook] = {}  # by the id of their connection
        self._engine: Engine | None = None
        self._lineage = LineageReports(self)

    def queue(
        self,
        queue_name: str,
        *,
        type: type[T_co] | None = None,
        retry: Retry = RETRY,
        on_error: str = OnError.RETRY,
        on_dead: str = OnDead.FAIL,
    ) -> TaskQueue[T_co]:
        """Return a queue on this hook's database.

        :param queue_name: the queue's name.
        :param type: what its payloads are: a dataclass, a TypedDict or a pydantic model.
        :param retry: how long a message rests after a failed attempt, and how many it has.
        :param on_error: ``retry``: a task that raises keeps its message for its own retry;
            ``release``: the message is released at once.
        :param on_dead: ``fail``: a task fails whose message has become a dead letter; ``ignore``.
        :raises InvalidArgumentError: one of these is none of the above.
        """
        from xclaim.airflow.tasks.task_queue import TaskQueue

        bind, place = self._bind_of(queue_name)
        return TaskQueue(
            queue_name,
            bind,
            lineage=self._lineage,
            retry=retry,
            on_error=checked_on_error(on_error, has_others=False),
            on_dead=on_dead,
            type=type,
            payloads=place.payloads_in_use(),
        )

    def asset_uri(self, queue_name: str) -> str:
        """Return the URI of the asset that a queue is.

        :param queue_name: the queue's name.
        """
        from xclaim.airflow.assets import queue_uri

        return queue_uri(self._bind_of(queue_name)[1].database().url, queue_name)

    def is_encrypted(self, queue_name: str) -> bool:
        """Return whether the payloads of a queue are encrypted, of a split one in any part.

        :param queue_name: the queue's name.
        """
        places = self._places_of(queue_name).values()
        return any(place.payloads_in_use().keys is not None for place in places)

    def measure(self, queue_name: str, counts: Mapping[str, int]) -> None:
        """Send how a queue is to Airflow's metrics, if these go anywhere.

        :param queue_name: the queue's name.
        :param counts: how many messages there are of each kind, as ``Queue.counts`` says it.
        """
        from xclaim.airflow.stats import measure_queue

        places = self._places_of(queue_name)
        tables = {part: (each.get_conn(), each.database().schema) for part, each in places.items()}
        measure_queue(queue_name, counts, tables)

    def get_conn(self) -> Engine:
        """Return the SQLAlchemy engine, made once per process."""
        if self._engine is None:
            self._engine = self._new_engine()
        return self._engine

    def claim_ticket(
        self,
        queue_name: str,
        size: int = 1,
        *,
        lease: timedelta = TICKET_LEASE,
        retry: Retry = RETRY,
    ) -> dict[str, Any] | None:
        """Claim up to ``size`` messages for another task; return the ticket, None if none is there.

        The ticket is a plain dict for an XCom; the other task passes it to ``resume``. A retry of
        this task gets the same messages again, unless they have been resumed.

        :param queue_name: the queue's name.
        :param size: how many messages the ticket is for, at most.
        :param lease: how long the ticket may wait to be resumed; then the messages go back.
        :param retry: how long messages rest whose leases ran out, which a claim gives back.
        :raises DBAPIError: the database is away; of a split queue, one that may have a message.
        """
        queue = self.queue(queue_name, retry=retry)
        claim = partial(queue._claim_everywhere, size, lease=lease)  # noqa: SLF001
        return claimed_ticket(queue_name, self.xclaim_conn_id, claim)

    def claim_batches(
        self,
        queue_name: str,
        size: int,
        max_batches: int | None = None,
        *,
        lease: timedelta = TICKET_LEASE,
        retry: Retry = RETRY,
    ) -> list[dict[str, Any]]:
        """Claim messages in batches for mapped tasks; return a ticket for each, to expand over.

        :param queue_name: the queue's name.
        :param size: how many messages a ticket is for, at most.
        :param max_batches: how many tickets at most; by default, and never more than, Airflow's
            ``[core] max_map_length``, over which nothing can be expanded.
        :param lease: how long the tickets may wait to be resumed; then the messages go back.
        :param retry: how long messages rest whose leases ran out, which a claim gives back.
        :raises DBAPIError: the database is away; of a split queue, if nothing is in the others.
        """
        queue = self.queue(queue_name, retry=retry)
        tickets: list[dict[str, Any]] = []
        for _ in range(checked_batches(max_batches)):
            # What is in the other places is not held up by one that is away.
            look = queue.claim_many if tickets else queue._claim_everywhere  # noqa: SLF001
            claim: Callable[..., list[Claim]] = partial(look, size, lease=lease)
            ticket = claimed_ticket(queue_name, self.xclaim_conn_id, claim)
            if ticket is None:
                break
            tickets.append(ticket)
        return tickets

    def resume(
        self, ticket: Mapping[str, Any], *, queue_name: str | None = None, lease: timedelta = LEASE
    ) -> list[Claim]:
        """Take over the claims of a ticket; the first task to do so has them, and its retries.

        A retry gets what its earlier try has not settled; ``[]`` if that was everything. It is
        looked for behind this hook's connection, whatever the ticket says.

        :param ticket: as ``claim_ticket``, ``claim_batches``, ClaimOperator or ClaimSensor
            returned it.
        :param queue_name: refuse a ticket of another queue.
        :param lease: counted from now.
        :raises InvalidArgumentError: it is no ticket, was changed, or is of another connection or
            queue.
        :raises TicketLostError: nothing is held for it any more; a task is not retried then.
        """
        from xclaim import TicketLostError

        said: Any = ticket  # of whoever may write an XCom
        if queue_name is not None and isinstance(said, dict):
            parts = self._parts_of(queue_name)
            queue_name = said.get("queue") if said.get("queue") in parts else queue_name
        known = ticket_from_xcom(ticket, self.xclaim_conn_id, queue_name)
        task_queue = self.queue(known.queue)
        claims = task_queue.resume(known, lease=lease)
        task = current_task()
        if not claims and not was_settled(task_queue, ticket, task):
            # Outside a task there is nothing that Airflow could try again.
            raise TicketLostError(known) if task is None else TicketLostForGoodError(known)
        return claims

    @contextmanager
    def consume_ticket(
        self,
        ticket: Mapping[str, Any],
        *,
        queue_name: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        **on_failure: Any,
    ) -> Iterator[list[Claim]]:
        """Resume a ticket for a block: ack at its end, release if it raises.

        :param ticket: as for ``resume``.
        :param queue_name: refuse a ticket of another queue.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        :param on_failure: ``retry``, ``on_error`` and ``on_dead`` of ``queue``.
        :raises InvalidArgumentError: as ``resume``.
        :raises TicketLostError: nothing is held for it any more.
        """
        claims = self.resume(ticket, queue_name=queue_name, lease=lease)
        task_queue = self.queue(ticket["queue"], **on_failure)
        with task_queue.working_on(claims, lease=lease, lease_limit=lease_limit) as held:
            yield held

    def test_connection(self) -> tuple[bool, str]:
        """Connect and compare the schema's revision: whether it fits, and what to do if not.

        With ``xclaim_places`` in each of them. A SQLite file that is not there is not made.
        """
        from sqlalchemy.exc import SQLAlchemyError

        from xclaim.airflow.connections import testing
        from xclaim.errors import XclaimError

        try:
            with testing():
                self._check_schema()
        except XclaimError as error:
            return False, str(error)
        except SQLAlchemyError as error:
            return False, f"the database cannot be reached: {getattr(error, 'orig', None) or error}"
        return True, "the xclaim schema is up to date"

    def _check_schema(self) -> None:
        from xclaim.airflow.connections import places_of

        others = dict.fromkeys(places_of(self._connection(), self.xclaim_conn_id).values())
        for place in map(self._hook_of, others) if others else [self]:
            place._check_own_schema()  # noqa: SLF001  (of another hook like this)

    def _check_own_schema(self) -> None:
        from xclaim.operations import migrate

        engine = self._new_engine()
        try:
            migrate.check(engine, schema=self.database().schema)
        finally:  # or SQLite's write-ahead log would stay beside its file
            engine.dispose()

    def _new_engine(self) -> Engine:
        from xclaim import create_engine

        database = self.database()
        return create_engine(database.url, **database.engine_options)

    def payloads_in_use(self) -> Payloads:
        """Return how payloads are stored behind this connection."""
        from xclaim.airflow.payload_settings import payloads_of

        if self._payloads is not None:
            return self._payloads
        return payloads_of(self.database().payload_options, self._fallback)

    def _bind_of(self, queue_name: str) -> tuple[Placed | Split, XclaimHook]:
        """Return what the queue is bound to, and the hook of its place: of its first part's."""
        from xclaim.queues.placing import Split

        hooks = self._places_of(queue_name)
        parts = list(hooks)
        if parts == [queue_name]:
            place = hooks[queue_name]
            return place.database().placed(place.get_conn(), queue_name), place
        places = [
            hook.database().placed(
                hook.get_conn(), *(part for part in parts if hooks[part] is hook)
            )
            for hook in dict.fromkeys(hooks.values())
        ]
        return Split(parts, places), hooks[parts[0]]

    def _places_of(self, queue_name: str) -> dict[str, XclaimHook]:
        """Return the hooks of a queue's places, by the names of its parts or its own."""
        return {part: self._place_of(part) for part in self._parts_of(queue_name) or [queue_name]}

    def _parts_of(self, queue_name: str) -> list[str]:
        """Return the parts of a queue that is split; ``[]`` if it is not."""
        from xclaim.airflow.connections import parts_of

        return parts_of(self._connection(), queue_name, self.xclaim_conn_id)

    def _place_of(self, queue_name: str) -> XclaimHook:
        """Return the hook of the connection behind which the queue is: this one, mostly."""
        from xclaim.airflow.connections import place_of

        return self._hook_of(place_of(self._connection(), queue_name, self.xclaim_conn_id))

    def _hook_of(self, conn_id: str) -> XclaimHook:
        if conn_id == self.xclaim_conn_id:
            return self
        if conn_id not in self._places:
            self._places[conn_id] = XclaimHook(
                conn_id, payloads=self._payloads, fallback=self._fallback
            )
        return self._places[conn_id]

    def database(self) -> Database:
        """Return where the message table of this connection is."""
        from xclaim.airflow.connections import database_of

        if self._found is None:
            self._found = database_of(self._connection(), self.xclaim_conn_id)
        return self._found

    def _connection(self) -> Any:
        from xclaim.airflow.connections import asking_for

        if self._asked is None:  # once: in a task each question goes to the API server
            with asking_for(self.xclaim_conn_id):
                self._asked = self.get_connection(self.xclaim_conn_id)
        return self._asked
