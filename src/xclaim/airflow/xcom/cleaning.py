"""Delete the objects of XComs that no longer exist.

Airflow deletes rows of its database and tells nobody: with a DAG run, with ``airflow db clean``,
when a task pushes the same key twice. An object's name says whose XCom it was, so what is asked is
whether that XCom still refers to this very object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from xclaim.airflow.xcom.objects import Owner, reference_in

T = TypeVar("T")
Referred = Callable[[set[Owner]], set[str]]

# An object is written before its XCom: what is younger may belong to a task that is just ending.
GRACE = timedelta(days=1)
_BATCH = 500


def clean_xcoms(older_than: timedelta = GRACE, *, dry_run: bool = False) -> dict[str, int]:
    """Delete the objects that no XCom refers to, and return how many were deleted and kept.

    For a task, on any worker: it asks the API server, one question for each XCom. Where there is
    access to Airflow's database ``airflow xclaim clean-xcoms`` does the same, faster. Another
    Airflow needs another prefix: of its XComs this one knows nothing.

    :param older_than: leaves younger ones alone.
    :param dry_run: whether to count only.
    """
    return _cleaned(_referred_to_by_api, older_than, dry_run=dry_run)


def clean_xcoms_by_database(
    older_than: timedelta = GRACE, *, dry_run: bool = False
) -> dict[str, int]:
    """Do as ``clean_xcoms``, in a process that may read Airflow's database: a query for each batch.

    :param older_than: leaves younger ones alone.
    :param dry_run: whether to count only.
    """
    return _cleaned(_referred_to_by_database, older_than, dry_run=dry_run)


def _cleaned(referred: Referred, older_than: timedelta, *, dry_run: bool) -> dict[str, int]:
    from xclaim.airflow.xcom.settings import xcom_settings

    storage = xcom_settings().storage()
    counts = {"deleted": 0, "kept": 0, "unknown": 0}
    for uris in _batches(found.uri for found in storage.objects(older_than)):
        owners = {uri: Owner.of_uri(uri) for uri in uris}
        known = {owner for owner in owners.values() if owner is not None}
        kept = referred(known)
        gone = [uri for uri, owner in owners.items() if owner is not None and uri not in kept]
        if not dry_run:
            storage.delete(gone)
        unknown = sum(owner is None for owner in owners.values())
        counts["deleted"] += len(gone)
        counts["unknown"] += unknown
        counts["kept"] += len(uris) - len(gone) - unknown
    return counts


def _referred_to_by_api(owners: set[Owner]) -> set[str]:
    from xclaim.airflow.xcom.stored import StoredXCom

    found = (StoredXCom.get_one(**owner._asdict()) for owner in sorted(owners))
    return _uris(xcom.value for xcom in found if xcom is not None)


def _referred_to_by_database(owners: set[Owner]) -> set[str]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select, tuple_

    columns = [getattr(XComModel, name) for name in Owner._fields]
    query = select(XComModel.value).where(tuple_(*columns).in_(sorted(owners)))
    with create_session() as session:
        return _uris(session.scalars(query).all())


def _uris(values: Iterable[Any]) -> set[str]:
    references = (reference_in(value) for value in values)
    return {reference.uri for reference in references if reference is not None}


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
