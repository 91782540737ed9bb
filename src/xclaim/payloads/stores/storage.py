"""Payloads outside the table: objects below one prefix, written before their rows."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

from xclaim.errors import InvalidArgumentError, PayloadRefusedError, StorageError
from xclaim.payloads.stores.failures import explained, gone_or_explained
from xclaim.payloads.stores.local import LocalStore
from xclaim.payloads.stores.references import (
    Location,
    Reference,
    StoredObject,
    is_unfinished,
    location_of_path,
    parse_location,
)
from xclaim.payloads.stores.remote import RemoteStore, file_system, file_system_like
from xclaim.payloads.stores.verifying import ObjectReader, VerifyingReader

__all__ = ["ObjectWriter", "Reference", "Storage", "StoredObject"]

_CHUNK = 1024 * 1024
_log = logging.getLogger(__name__)


class StoreWriter(Protocol):
    """An object being written to a store."""

    def write(self, data: bytes | memoryview) -> None: ...

    def commit(self) -> None:
        """Make the object durable and visible."""

    def discard(self) -> None:
        """Leave nothing behind."""


class Store(Protocol):
    """A kind of storage. Its errors are its client's; a missing object is a FileNotFoundError."""

    def create(self, path: str) -> StoreWriter: ...

    def open(self, path: str) -> ObjectReader: ...

    def delete(self, paths: Iterable[str]) -> None: ...

    def objects(self) -> Iterator[StoredObject]: ...

    def is_there(self) -> bool: ...


class Storage:
    """Payloads as objects below ``location``, which is written to, read from and tidied.

    ``location`` is a URL (``file``, ``memory``, ``s3``, ``gs``, ``abfs`` and their other names),
    an absolute path, a UPath or an Airflow ObjectStoragePath (``s3://conn_id@bucket/folder``).
    ``options`` go to the fsspec file system: credentials, endpoint, timeouts. ``read_from`` are
    earlier locations whose objects rows still own: they are read and deleted, never written.
    Options are for the locations of the same kind as ``location``. ``folders`` is how many names an
    object has (of a payload: its queue); objects with more or fewer are not this storage's.

    Nothing is imported or connected before the first object. A pickle has no options, which may be
    credentials: where it is loaded, they are those of the environment there. Raise
    InvalidArgumentError for a location that cannot be used.
    """

    def __init__(
        self,
        location: Any,
        *,
        options: Mapping[str, Any] | None = None,
        read_from: Sequence[Any] = (),
        folders: int = 1,
    ) -> None:
        if isinstance(read_from, str):
            raise InvalidArgumentError("read_from must be a list of locations, not one text")
        place = _Place(location, options or {}, folders)
        others = [_Place(other, {}, folders) for other in read_from]
        for other in others:
            if other.location.scheme == place.location.scheme:
                other.options = place.options
        self._place = place
        self._places = [place, *others]

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def __copy__(self) -> Storage:
        """Return the same: it never changes, and a copy would have no options."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Storage:
        """Return the same: it never changes, and a copy would have no options."""
        return self

    @property
    def url(self) -> str:
        """Return the prefix that new objects are put below, without a slash at the end."""
        return self._place.location.url

    def create(self, *names: str) -> ObjectWriter:
        """Begin an object for a payload of the queue; it is not there before ``commit()``.

        ``names`` is the queue; of a storage with more folders, a name for each.

        Raise StorageError if the storage cannot be reached or refuses.
        """
        path = self._place.location.new_path(*names)
        with explained(self.url, "write to"):
            writer = self._place.store().create(path)
        return ObjectWriter(writer, uri=self._place.location.uri_of(path), url=self.url)

    def open(self, reference: Reference) -> BinaryIO:
        """Return the object for reading, piece by piece, with little memory.

        Its last piece is handed out only when the size and the digest of all are right, else
        PayloadCorruptedError is raised; so what was read before must not be acted on before the
        end. Raise PayloadRefusedError for an object elsewhere, PayloadGoneError if there is none,
        StorageError if the storage cannot be reached or refuses.
        """
        place, path = self._find(reference.uri)
        if is_unfinished(path):
            raise PayloadRefusedError(f"{reference.uri} was never complete: no row names such")
        url = place.location.url

        def explaining() -> Any:
            return gone_or_explained(reference.uri, url, lambda: place.store().is_there())

        with explaining():
            reader = place.store().open(path)
        return io.BufferedReader(VerifyingReader(reader, reference, explaining), _CHUNK)

    def is_in(self, uri: str, *names: str) -> bool:
        """Return whether the object is one of this storage's, in the folders of these names."""
        found = ((place, place.location.path_of(uri)) for place in self._places)
        return any(path is not None and place.location.is_in(path, *names) for place, path in found)

    def read(self, reference: Reference, limit: int) -> bytes:
        """Return the whole object, verified. Raise as ``open`` does.

        Raise PayloadRefusedError, before anything is fetched, if it is larger than ``limit`` bytes.
        """
        if reference.size > limit:
            raise PayloadRefusedError(
                f"the payload at {reference.uri} has {reference.size} bytes, more than the "
                f"{limit} that are read at once: stream it, or raise the limit (max_size)"
            )
        with self.open(reference) as file:
            return file.read()

    def delete(self, uris: Iterable[str]) -> None:
        """Delete the objects; those that are gone already are fine.

        Raise PayloadRefusedError, with nothing deleted, if one lies elsewhere, and StorageError
        if the storage cannot be reached or refuses: call again, with the same.
        """
        paths: dict[str, tuple[_Place, list[str]]] = {}
        for uri in uris:
            place, path = self._find(uri)
            paths.setdefault(place.location.url, (place, []))[1].append(path)
        for url, (place, own) in paths.items():
            with explained(url, "delete from"):
                place.store().delete(own)

    def objects(self, older_than: timedelta) -> Iterator[StoredObject]:
        """Yield the objects at the location that are older, by the storage's clock and ours.

        What is not named as xclaim names its objects is left out. Raise StorageError.
        """
        before = datetime.now(UTC) - older_than
        with explained(self.url, "list"):
            for found in self._place.store().objects():
                if found.modified_at <= before:
                    yield found

    def _find(self, uri: str) -> tuple[_Place, str]:
        for place in self._places:
            path = place.location.path_of(uri)
            if path is not None:
                return place, path
        raise PayloadRefusedError(
            f"the row names the object {uri!r}, which is not one of xclaim's below "
            f"{', '.join(place.location.url for place in self._places)}: it is not touched; if it "
            "lies in an earlier storage, add that to read_from"
        )


class ObjectWriter:
    """One object being written; leaving its block without ``commit()`` discards it."""

    def __init__(self, writer: StoreWriter, *, uri: str, url: str) -> None:
        self._writer = writer
        self._url = url
        self._digest = hashlib.sha256()
        self._finished = False
        self.uri = uri
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    def writable(self) -> bool:
        """Return True, as a file does."""
        return True

    @property
    def closed(self) -> bool:
        """Return whether the object was committed or discarded."""
        return self._finished

    def write(self, data: Any) -> int:
        """Take bytes, or anything that has them in one piece. Raise StorageError."""
        if self._finished:
            raise ValueError("the object is finished: create another one")
        with memoryview(data) as view, view.cast("B") as piece:
            self._digest.update(piece)
            self.size += len(piece)
            with explained(self._url, "write to"):
                self._writer.write(piece)
            return len(piece)

    def flush(self) -> None:
        """Do nothing: the object is written when it is committed."""

    def commit(self) -> Reference:
        """Make the object durable and visible, and return what its row keeps.

        Raise StorageError; it is discarded then.
        """
        if self._finished:
            raise ValueError("the object is finished: create another one")
        try:
            with explained(self._url, "write to"):
                self._writer.commit()
        except BaseException:
            self.discard()
            raise
        self._finished = True
        return Reference(uri=self.uri, size=self.size, sha256=self._digest.hexdigest())

    def discard(self) -> None:
        """Leave nothing behind; after ``commit()`` do nothing.

        What a storage that fails keeps of it is found by ``xclaim prune --orphans``.
        """
        if self._finished:
            return
        self._finished = True
        try:
            self._writer.discard()
        except Exception as error:  # noqa: BLE001 - it must not hide why the object is discarded
            _log.warning("could not discard %s (%s)", self.uri, type(error).__name__)


@dataclass(frozen=True, slots=True)
class _ConnectedPath:
    kind: Any
    url: str
    connection_id: str


class _Place:
    """A location and its store, which is made when it is asked for, once in each process."""

    def __init__(self, location: Any, options: Mapping[str, Any], folders: int) -> None:
        self.options = dict(options)
        self.lacks_options = False  # they were left out of a pickle
        self.path: Any = None
        self._store: Store | None = None
        self._process: int | None = None
        if isinstance(location, os.PathLike) and not hasattr(location, "fs"):
            location = os.fspath(location)
        if isinstance(location, str):
            found = parse_location(location)
        elif hasattr(location, "fs") and hasattr(location, "protocol"):
            self.path = location
            found = location_of_path(location)
        else:
            raise InvalidArgumentError(
                f"the storage must be a URL or a path, not {type(location).__name__}"
            )
        self.location: Location = replace(found, folders=folders)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the options, and a path's own ones: they may be credentials."""
        state = self.__dict__ | {"_store": None, "_process": None, "options": {}, "path": None}
        # Airflow's path forgets its connection when it is pickled (seen in 3.3). That of 3.1 has it
        # among its options.
        options = getattr(self.path, "storage_options", None) or {}
        connection_id = getattr(self.path, "conn_id", None) or options.get("conn_id")
        if connection_id is not None:
            state["path"] = _ConnectedPath(type(self.path), self.location.url, connection_id)
            state["lacks_options"] |= bool(self.options)
        else:
            state["lacks_options"] |= bool(self.options or options)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.path, _ConnectedPath):
            self.path = self.path.kind(self.path.url, conn_id=self.path.connection_id)

    def store(self) -> Store:
        # A child of a fork must not use the connections of its parent.
        if self._store is None or self._process != os.getpid():
            self._store = self._made()
            self._process = os.getpid()
        return self._store

    def _made(self) -> Store:
        if self.location.scheme == "file":
            return LocalStore(self.location)
        options = options_of_environment(self.location) if self.lacks_options else self.options
        if self.path is not None:
            files = file_system_like(self.path, options, self.location.scheme)
        else:
            files = file_system(self.location, options)
        return RemoteStore(self.location, files)


def options_of_environment(location: Location) -> Mapping[str, Any]:
    """Return the options of the environment's storage. Raise StorageError if it is another kind."""
    url, options = os.environ.get("XCLAIM_STORAGE"), os.environ.get("XCLAIM_STORAGE_OPTIONS")
    if not url or not options or parse_location(url).scheme != location.scheme:
        raise StorageError(
            f"the options of the storage {location.url} were left out of a pickle, for they may be "
            "credentials: set XCLAIM_STORAGE and XCLAIM_STORAGE_OPTIONS here, or read the message "
            "with a queue that has them"
        )
    return parsed_options(options)


def parsed_options(text: str | None) -> Mapping[str, Any]:
    """Return the options that XCLAIM_STORAGE_OPTIONS says."""
    try:
        parsed = json.loads(text) if text else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):  # without its text, which may hold a secret
        raise InvalidArgumentError(
            'XCLAIM_STORAGE_OPTIONS is no JSON object: write {"endpoint_url": "http://..."}'
        )
    return parsed
