"""The scheme ``xclaim`` of common.messaging's MessageQueueTrigger."""

from __future__ import annotations

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

from xclaim.airflow.triggers import WakeUpTrigger


class XclaimMessageQueueProvider(BaseMessageQueueProvider):
    """``MessageQueueTrigger(scheme="xclaim", queue_name=...)``: wakes, and never claims."""

    scheme = "xclaim"

    def trigger_class(self) -> type[WakeUpTrigger]:
        """Return the trigger; it takes what is passed besides the scheme."""
        return WakeUpTrigger
