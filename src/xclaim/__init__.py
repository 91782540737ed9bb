"""xclaim: a message table in which each payload is consumed exactly once.

>>> queue = Queue("orders", "postgresql://localhost/shop")
>>> queue.push({"id": 1})
>>> claimed = queue.claim()
>>> queue.ack(claimed)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim.claims import Claim, Ticket
    from xclaim.connections.engine import create_async_engine, create_engine
    from xclaim.errors import (
        ClaimLostError,
        DatabaseUrlError,
        DuplicateMessageError,
        EncryptionKeyError,
        HiddenRowsError,
        InvalidArgumentError,
        MessagesFailedError,
        OrderingNotEnabledError,
        PayloadCorruptedError,
        PayloadError,
        PayloadGoneError,
        PayloadReadError,
        PayloadRefusedError,
        QueueFullError,
        SchemaVersionError,
        StorageError,
        TicketLostError,
        UnknownCodecError,
        XclaimError,
    )
    from xclaim.limits import Backlog, Limits, Pause
    from xclaim.message import Counts, Failure, Message, Status
    from xclaim.payloads.codecs.registry import Codec, register_codec
    from xclaim.payloads.options import AfterAck
    from xclaim.payloads.payloads import Payloads
    from xclaim.payloads.stores.storage import Storage
    from xclaim.places import Place, Places
    from xclaim.queues.aio import AsyncQueue
    from xclaim.queues.functions import ack, claim, push
    from xclaim.queues.sync import Queue
    from xclaim.retry import Retry

__version__ = "0.1.0"

# Loaded on first use (PEP 562): an Airflow DAG file that only names the hook pays for nothing.
_MODULE_OF = {
    "AfterAck": "payloads.options",
    "AsyncQueue": "queues.aio",
    "Backlog": "limits",
    "Claim": "claims",
    "ClaimLostError": "errors",
    "Codec": "payloads.codecs.registry",
    "Counts": "message",
    "DatabaseUrlError": "errors",
    "DuplicateMessageError": "errors",
    "EncryptionKeyError": "errors",
    "Failure": "message",
    "HiddenRowsError": "errors",
    "InvalidArgumentError": "errors",
    "Limits": "limits",
    "Message": "message",
    "MessagesFailedError": "errors",
    "OrderingNotEnabledError": "errors",
    "Pause": "limits",
    "PayloadCorruptedError": "errors",
    "PayloadError": "errors",
    "PayloadGoneError": "errors",
    "PayloadReadError": "errors",
    "PayloadRefusedError": "errors",
    "Payloads": "payloads.payloads",
    "Place": "places",
    "Places": "places",
    "Queue": "queues.sync",
    "QueueFullError": "errors",
    "Retry": "retry",
    "SchemaVersionError": "errors",
    "Status": "message",
    "Storage": "payloads.stores.storage",
    "StorageError": "errors",
    "Ticket": "claims",
    "TicketLostError": "errors",
    "UnknownCodecError": "errors",
    "XclaimError": "errors",
    "ack": "queues.functions",
    "claim": "queues.functions",
    "create_async_engine": "connections.engine",
    "create_engine": "connections.engine",
    "push": "queues.functions",
    "register_codec": "payloads.codecs.registry",
}

__all__ = [
    "AfterAck",
    "AsyncQueue",
    "Backlog",
    "Claim",
    "ClaimLostError",
    "Codec",
    "Counts",
    "DatabaseUrlError",
    "DuplicateMessageError",
    "EncryptionKeyError",
    "Failure",
    "HiddenRowsError",
    "InvalidArgumentError",
    "Limits",
    "Message",
    "MessagesFailedError",
    "OrderingNotEnabledError",
    "Pause",
    "PayloadCorruptedError",
    "PayloadError",
    "PayloadGoneError",
    "PayloadReadError",
    "PayloadRefusedError",
    "Payloads",
    "Place",
    "Places",
    "Queue",
    "QueueFullError",
    "Retry",
    "SchemaVersionError",
    "Status",
    "Storage",
    "StorageError",
    "Ticket",
    "TicketLostError",
    "UnknownCodecError",
    "XclaimError",
    "__version__",
    "ack",
    "claim",
    "create_async_engine",
    "create_engine",
    "push",
    "register_codec",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'xclaim' has no attribute {name!r}")
    value = getattr(import_module(f"xclaim.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
