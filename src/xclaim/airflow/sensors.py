"""A sensor that waits for a message and claims it for a task downstream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from xclaim.airflow.versions import (
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    conf,
)

from airflow.sdk import BaseSensorOperator, PokeReturnValue, timezone

from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.lineage import operator_lineage
from xclaim.airflow.links import LinkedToMessages
from xclaim.airflow.tasks.tickets import TICKET_LEASE, claimed_ticket
from xclaim.arguments import MAX_LIMIT, seconds, whole_number
from xclaim.retry import RETRY, Retry, checked_retry

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class ClaimSensor(LinkedToMessages, BaseSensorOperator):
    """Wait until there is a message, claim it, and return the ticket.

    The claim is made by the worker; a trigger only waits. It outlives the sensor: a task downstream
    resumes it with ``hook.resume(ticket)``, and if none does the message goes back after the lease.

    :param queue_name: the queue's name. (templated)
    :param size: how many messages the ticket is for, at most; one is enough to go on.
    :param lease: how long the ticket may wait to be resumed.
    :param retry: how long messages rest whose leases ran out, which a claim gives back.
    :param deferrable: whether to wait in the triggerer, where a wake-up ends it, and not in a
        worker slot. By default as ``[operators] default_deferrable`` says.
    :param poke_interval: seconds between two looks when it does not defer.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = ("queue_name", "xclaim_conn_id")
    ui_color = "#e8f3ee"

    def __init__(
        self,
        *,
        queue_name: str,
        size: int = 1,
        lease: timedelta = TICKET_LEASE,
        retry: Retry = RETRY,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 5,
        xclaim_conn_id: str = XclaimHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.queue_name = queue_name
        self.size = whole_number("size", size, 1, MAX_LIMIT)
        seconds("lease", lease)
        self.lease = lease
        self.retry = checked_retry(retry)
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        self.xclaim_conn_id = xclaim_conn_id

    @cached_property
    def hook(self) -> XclaimHook:
        """Return the hook on the sensor's connection."""
        return XclaimHook(self.xclaim_conn_id)

    def poke(self, context: Context) -> PokeReturnValue:
        """Claim if there is something; of a split queue, in a place that is not away."""
        queue = self.hook.queue(self.queue_name, retry=self.retry)
        claim = partial(queue.claim_many, self.size, lease=self.lease)
        ticket = claimed_ticket(self.queue_name, self.xclaim_conn_id, claim)
        return PokeReturnValue(is_done=ticket is not None, xcom_value=ticket)

    def execute(self, context: Context) -> Any:
        """Claim, now or when there is something, and return the ticket."""
        if self.deferrable:
            return self.claim_or_defer(context)
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            if skip.__cause__ is not None:  # an error; else its time is over
                raise
            return self._found_at_last(skip)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after the trigger, as Airflow calls it.

        With ``soft_fail`` the task is skipped when its time is over, and fails when the trigger
        failed: of what that has not seen nobody knows.

        :param next_method: what is to be called.
        :param next_kwargs: with what.
        :param context: of the running task.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            # Before 3.3 a deferred sensor whose time is over fails, whatever soft_fail says.
            cause = error.__cause__ if isinstance(error, AirflowSkipException) else error
            if self.soft_fail and isinstance(cause, AirflowSensorTimeout):
                return self._found_at_last(AirflowSkipException(str(cause)))
            if self.soft_fail and isinstance(cause, TaskDeferralError):
                raise cause from None
            raise

    def _found_at_last(self, skip: AirflowSkipException) -> dict[str, Any]:
        """Return the ticket of a last look in all places, else raise ``skip``.

        Skipped is what found nothing, and of a place that is away nobody knows.
        """
        ticket = self.hook.claim_ticket(
            self.queue_name, self.size, lease=self.lease, retry=self.retry
        )
        if ticket is None:
            raise skip
        return ticket

    def claim_or_defer(
        self, context: Context, event: Any = None, *, ends_at: str | None = None
    ) -> Any:
        """Claim; wait again if another was quicker.

        :param event: of the trigger, which only says that there was something.
        :param ends_at: when the sensor's timeout is over; by default it begins now.
        """
        from xclaim.airflow.triggers import AvailableTrigger

        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        timeout = timedelta(seconds=self.timeout)
        end = datetime.fromisoformat(ends_at) if ends_at else timezone.utcnow() + timeout
        return self.defer(
            trigger=AvailableTrigger(
                queue_name=self.queue_name, xclaim_conn_id=self.xclaim_conn_id
            ),
            method_name="claim_or_defer",
            kwargs={"ends_at": end.isoformat()},
            timeout=max(end - timezone.utcnow(), timedelta(0)),
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the queue as what the task has read."""
        return operator_lineage(inputs=[self.hook.asset_uri(self.queue_name)])
