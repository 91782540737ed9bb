"""Objects that belong to no message: found, and removed.

A push stores its object before the row, and prune deletes the row before the object, so that there
is never a row without its object. What crashes in between leaves an object without a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import Engine

from xclaim import arguments, verbs
from xclaim.errors import InvalidArgumentError
from xclaim.payloads.payloads import Payloads
from xclaim.payloads.stores.references import text_of_folder
from xclaim.payloads.stores.storage import StoredObject

OLDER_THAN = timedelta(days=1)  # longer than any transaction that pushes
LEAST = timedelta(hours=1)
_BATCH = 10_000  # objects that one statement looks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What was found: objects that are old enough, how many of them are orphans, and their size.

    ``left``: objects that may be another database's, and are neither counted as orphans nor
    removed.
    """

    examined: int
    orphans: int
    bytes: int
    removed: int
    left: int


def prune_orphans(
    engine: Engine,
    payloads: Payloads | None = None,
    *,
    older_than: timedelta = OLDER_THAN,
    dry_run: bool = False,
    every: bool = False,
    has_queue: Callable[[str], bool] | None = None,
    schema: str | None = None,
) -> Orphans:
    """Remove the objects that are older and belong to no message; return what was found.

    Younger ones may belong to a push that is not committed yet: no less than an hour. Another
    database's objects look like orphans. So those of a queue are left where not one of them has a
    message here, unless ``every`` says that the storage is this database's alone; if that is so of
    all queues, InvalidArgumentError is raised. Where databases share a storage, ``has_queue`` says
    of which queues the objects are looked at; two that have a queue of one name must not share it.
    ``payloads``: by default as the environment says. Raise HiddenRowsError, with nothing removed,
    if row-level security hides messages from the role: their objects would look like orphans;
    StorageError if the storage cannot be reached.
    """
    arguments.seconds("older_than", older_than)
    if older_than < LEAST:
        raise InvalidArgumentError(
            f"older_than must be an hour at least, not {older_than}: a push stores its object "
            "before its transaction is committed"
        )
    schema = verbs.schema_on(engine, schema)
    settings = payloads or Payloads.by_default()
    storage = settings.require_storage()
    examined, without = 0, []
    known_folders: dict[str, str] = {}  # and the queues, also of names that are cut to a folder's
    for batch in _batches(storage.objects(older_than)):
        examined += len(batch)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            uris = [each.uri for each in batch]
            named = verbs.stored_objects(connection, uris, schema=schema)
            verbs.refuse_hidden_rows(connection, schema, "the search for orphans")
        # Not what a row of another queue names: it is not that row's, and would be kept for ever.
        known = {uri: queue for uri, queue in named if storage.is_in(uri, queue)}
        known_folders |= {_folder(uri): queue for uri, queue in known.items()}
        without += [each for each in batch if each.uri not in known]

    def is_own(folder: str) -> bool:
        queue = known_folders.get(folder, text_of_folder(folder))
        return has_queue is None or (queue is not None and has_queue(queue))

    own = [each for each in without if is_own(_folder(each.uri))]
    orphans = [each for each in own if every or _folder(each.uri) in known_folders]
    if own and not orphans and not known_folders:
        raise InvalidArgumentError(
            f"none of the {len(own)} objects in {storage.url} belongs to a message of this "
            "database: is it the right one? If it is, say so with every=True (--every)"
        )
    if not dry_run:
        storage.delete(each.uri for each in orphans)
    return Orphans(
        examined=examined,
        orphans=len(orphans),
        bytes=sum(each.size for each in orphans),
        removed=0 if dry_run else len(orphans),
        left=len(without) - len(orphans),
    )


def _folder(uri: str) -> str:
    return uri.split("/")[-2]


def _batches(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    remaining = iter(objects)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
