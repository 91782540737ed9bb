"""The page of the errors, from their docstrings; what to do about one is said here."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module

from tests.api_docs import MODULES, public_names
from tests.reference import markdown
from tests.reference.markdown import block, code, docstring
from xclaim import errors
from xclaim.airflow.tasks.tickets import TicketLostForGoodError
from xclaim.airflow.xcom.exclusive_values import ExclusiveValueLostError
from xclaim.errors import XclaimError

_WAY_OUT: dict[type[XclaimError], str] = {
    errors.XclaimError: "Catch it to catch all that is xclaim's own.",
    errors.ClaimLostError: (
        "Discard the work, or make it idempotent by `message.id`. If it happens often, claim with a"
        " longer `lease`, or work in `consume`, which keeps the lease alive."
    ),
    errors.TicketLostError: (
        "Make a new ticket, with a longer lease if it waited too long for the task that resumes it."
    ),
    TicketLostForGoodError: (
        "Catch TicketLostError. Clear the task that made the ticket, too: then it makes a new one."
    ),
    ExclusiveValueLostError: (
        "Read the value once, in one task. The error's text says who has it, and the "
        "[guide](../guides/airflow-exclusive-values.md) which tasks may read it."
    ),
    errors.MessagesFailedError: (
        "You raise it in a block that has claimed several messages. Those not named in it are done."
    ),
    errors.UnfinishedError: (
        "You find it as the `last_error` of a message only. Look at the worker's log for what ended"
        " the loop."
    ),
    errors.DuplicateMessageError: (
        "Push the same payload, choose another key, or prune the consumed message. If it says that "
        "the payload cannot be compared, give the producer all Fernet keys."
    ),
    errors.QueueFullError: (
        "Push again when workers have claimed some, let the push [wait or be skipped]"
        "(../guides/backpressure.md), or let more wait with `Queue.limit_backlog(max_backlog=...)`."
    ),
    errors.SchemaVersionError: (
        "Run `xclaim upgrade`. If the schema is newer than this xclaim, run `pip install --upgrade "
        "xclaim`."
    ),
    errors.OrderingNotEnabledError: "Run `xclaim ordering enable` once, as the owner of the table.",
    errors.HiddenRowsError: "Do it as the owner of the table, who sees all messages.",
    errors.PayloadError: (
        "Its text names the place in the payload. Push less, use a "
        "[payload storage](../payloads.md#large-payloads), or register a codec for the type."
    ),
    errors.PayloadReadError: "See its kinds below; the message keeps its attempts and its payload.",
    errors.PayloadCorruptedError: "Correct the row or the object and redrive, or withdraw it.",
    errors.PayloadGoneError: "Restore the object and redrive, or withdraw the message.",
    errors.PayloadRefusedError: (
        "If you trust it, say so: `Payloads(allow=..., max_size=..., storage=...)`."
    ),
    errors.UnknownCodecError: "Register the codec in the consumer too, or upgrade xclaim there.",
    errors.EncryptionKeyError: "Give the worker the key (`XCLAIM_FERNET_KEYS`) and restart it.",
    errors.StorageError: "Look at the storage and its credentials. At a push nothing was pushed.",
    errors.InvalidArgumentError: "Its text names the argument and what it may be.",
    errors.FilterError: "Its text says what is wrong at `position`, and what to write instead.",
    errors.ObservationTimeoutError: (
        "Ask for less, or ask again when the database has less to do. More time is given by"
        " `timeout=` of an `Observer`, a dashboard's `Place` or an audit, by `--timeout` of"
        " `xclaim dashboard` and `xclaim metrics`, and by `dashboard_timeout` of `[xclaim]` in"
        " Airflow. If somebody has locked the table, `pg_stat_activity` says who."
    ),
    errors.NoConnectionError: (
        "Let fewer threads or tasks of the process work at a time, or write `?pool_size=200` into"
        " the database URL: [sizing](../operations/sizing.md#connections) says what the server"
        " needs then."
    ),
    errors.DatabaseUrlError: "Its text says what is wrong in it, without the password.",
}


def page() -> str:
    """Return the page."""
    tree = block(textwrap.dedent((errors.__doc__ or "").split("\n\n")[1]), "text")
    return markdown.page(
        "Errors",
        "Every error that xclaim raises: when, and the way out. Errors of the database itself, "
        "such as a lost connection, are SQLAlchemy's and pass untouched.",
        tree,
        *[part for kind in kinds() for part in _section(kind)],
    )


def kinds() -> list[type[XclaimError]]:
    """Return the classes of errors in the order of the module that draws their tree."""
    ours = [kind for kind in vars(errors).values() if _is_error(kind)]
    at = ours.index(errors.TicketLostError) + 1
    return [*ours[:at], TicketLostForGoodError, ExclusiveValueLostError, *ours[at:]]


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, XclaimError)


def _section(kind: type[XclaimError]) -> Iterator[str]:
    yield f"## {kind.__name__}"
    yield f"{code(_place(kind))} is a kind of {_listed(kind.__bases__)}."
    yield docstring(kind)
    yield f"**What to do.** {_WAY_OUT[kind]}"


def _listed(bases: tuple[type, ...]) -> str:
    ours = [kind.__name__ for kind in kinds()]
    return " and ".join(
        f"[{name}](#{name.lower()})" if name in ours else code(name)
        for name in (base.__name__ for base in bases)
    )


def _place(kind: type[XclaimError]) -> str:
    public = [name for names in MODULES.values() for name in names]
    found = [name for name in public if kind.__name__ in public_names(import_module(name))]
    return f"{[*found, kind.__module__][0]}.{kind.__name__}"
