"""Objects in S3, Google Cloud Storage, Azure and memory, through the fsspec file system of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from xclaim.errors import InvalidArgumentError
from xclaim.payloads.stores.references import Location, StoredObject

_BLOCK = 8 * 1024 * 1024  # S3 takes 10,000 parts, so 80 GB; GCS wants multiples of 256 KiB
_DELETING = 16  # at once; the clients' own bulk deletes hide errors, or fail where one is gone

# An endpoint that does not answer is an error after this time and that of a slow transfer. The
# clients' own retries would go on for minutes.
_PATIENCE = 30.0
_SLOW = 100_000  # bytes in a second

_EXTRAS = {"memory": "storage", "s3": "s3", "gs": "gcs", "abfs": "azure"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "retries": {"total_max_attempts": 3}}},
    "gs": {"requests_timeout": _PATIENCE},
    "abfs": {"connection_timeout": 5},
    "memory": {},
}
_MODIFIED = ("LastModified", "mtime", "last_modified", "created")  # S3, GCS, Azure, memory


class RemoteStore:
    """The objects below a prefix of a bucket."""

    def __init__(self, location: Location, files: Any) -> None:
        self._location = location
        self._files = files
        # What memory's file system writes is there as soon as its file is opened.
        self.shows_only_what_is_closed = location.scheme != "memory"

    def create(self, path: str) -> RemoteWriter:
        """Begin an object; nothing is sent before it is complete or a block is full."""
        return RemoteWriter(self, path)

    def open(self, path: str) -> RemoteReader:
        """Ask for the object's size. Raise FileNotFoundError if there is none."""
        found = self.call(self._files.info, path)
        if found["type"] != "file":  # no object, but one below it
            raise FileNotFoundError(path)
        return RemoteReader(self, path, found["size"])

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the objects; those that are gone already are fine."""
        with ThreadPoolExecutor(_DELETING) as threads:
            gone = [path for path, was_there in threads.map(self._delete, paths) if not was_there]
        if gone and not self.is_there():
            raise FileNotFoundError(self._location.bucket)

    def objects(self) -> Iterator[StoredObject]:
        """Yield the objects that are named as ours are, one queue after the other."""
        if not self.is_there():
            raise FileNotFoundError(self._location.bucket)
        for folder in self._listed(self._location.root):
            if folder["type"] == "directory":
                for found in self._below(folder["name"].rstrip("/")):
                    yield from self._ours(found)

    def is_there(self) -> bool:
        """Return whether the bucket is there; one that we may not look at is."""
        if self._location.scheme == "memory":
            return True
        try:
            self.call(self._files.info, self._location.bucket)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        return True

    def call(self, method: Callable[..., Any], *args: Any, size: int = 0, **options: Any) -> Any:
        """Call a method of the file system, with a deadline if it waits for a network."""
        if self._files.async_impl:
            options["timeout"] = _PATIENCE + size / _SLOW
        return method(*args, **options)

    def fetch(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of the object from ``start`` to before ``end``."""
        data: bytes = self.call(self._files.cat_file, path, start=start, end=end, size=end - start)
        return data

    def put(self, path: str, content: bytes) -> None:
        """Write a small object at once."""
        self.call(self._files.pipe_file, path, content, size=len(content))

    def open_upload(self, path: str) -> Any:
        """Return fsspec's file for a large object, which appears when it is closed."""
        options = {"timeout": _PATIENCE} if self._location.scheme == "gs" else {}
        return self._files.open(path, "wb", block_size=_BLOCK, **options)

    def _delete(self, path: str) -> tuple[str, bool]:
        try:
            self.call(self._files.rm_file, path)
        except FileNotFoundError:
            return path, False
        return path, True

    def _listed(self, folder: str) -> list[Mapping[str, Any]]:
        try:
            found: list[Mapping[str, Any]] = self._files.ls(folder, detail=True)
        except FileNotFoundError:  # nothing pushed yet, or the last one deleted meanwhile
            return []
        return found

    def _below(self, folder: str) -> Iterable[Mapping[str, Any]]:
        if self._location.folders == 1:
            return self._listed(folder)
        # All at once: asking folder by folder would be a request for each object.
        found: dict[str, Mapping[str, Any]] = self._files.find(folder, detail=True)
        return found.values()

    def _ours(self, found: Mapping[str, Any]) -> Iterator[StoredObject]:
        path = found["name"].lstrip("/")  # memory's have one
        name = path.removeprefix(f"{self._location.root}/")
        if found["type"] == "file" and self._location.has(name):
            yield StoredObject(
                uri=self._location.uri_of(path), size=found["size"], modified_at=_modified_at(found)
            )


class RemoteReader:
    """An object, fetched block by block."""

    def __init__(self, store: RemoteStore, path: str, size: int) -> None:
        self._store = store
        self._path = path
        self.size = size
        self._fetched = 0
        self._block = memoryview(b"")

    def read(self, count: int) -> bytes:
        """Return at most ``count`` bytes that come next, none at the end."""
        if not self._block and self._fetched < self.size:
            end = min(self._fetched + _BLOCK, self.size)
            self._block = memoryview(self._store.fetch(self._path, self._fetched, end))
            self._fetched += len(self._block)
        data = bytes(self._block[:count])
        self._block = self._block[count:]
        return data

    def close(self) -> None:
        """Let go of the block."""
        self._block = memoryview(b"")


class RemoteWriter:
    """An object that is sent at once if it is small, else in blocks; it appears when complete."""

    def __init__(self, store: RemoteStore, path: str) -> None:
        self._store = store
        self._path = path
        self._waiting = bytearray()
        self._upload: Any = None

    def write(self, data: bytes | memoryview) -> None:
        """Append, and send what makes full blocks."""
        for start in range(0, len(data), _BLOCK):
            self._waiting += data[start : start + _BLOCK]
            if len(self._waiting) > _BLOCK and self._store.shows_only_what_is_closed:
                self._send()

    def commit(self) -> None:
        """Send the rest and make the object appear."""
        if self._upload is None:
            self._store.put(self._path, bytes(self._waiting))
            return
        self._upload.write(bytes(self._waiting))
        self._upload.close()

    def discard(self) -> None:
        """Abort the upload."""
        self._waiting.clear()
        if self._upload is not None:
            try:
                self._upload.discard()
            finally:
                self._upload.closed = True  # or it would be completed when it is collected

    def _send(self) -> None:
        if self._upload is None:
            self._upload = self._store.open_upload(self._path)
        with memoryview(self._waiting) as waiting:  # no copy of its own: blocks are large
            self._upload.write(waiting[:_BLOCK])
        del self._waiting[:_BLOCK]


def _modified_at(found: Mapping[str, Any]) -> datetime:
    when = next(found[key] for key in _MODIFIED if key in found)
    if isinstance(when, datetime):
        return when
    return datetime.fromtimestamp(when, UTC)  # memory, in listings


def file_system(location: Location, options: Mapping[str, Any]) -> Any:
    """Return a file system for the location, for this process alone.

    Raise InvalidArgumentError naming the extra to install if its package is not here.
    """
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(location.scheme)
    except ImportError as error:
        raise InvalidArgumentError(
            f"payloads in {location.scheme}:// need a package that is not installed: "
            f'pip install "xclaim[{_EXTRAS[location.scheme]}]"'
        ) from error
    account = {"account_name": location.account} if location.account else {}
    return _made(kind, (), account | dict(options), location.scheme)


def file_system_like(path: Any, options: Mapping[str, Any], scheme: str) -> Any:
    """Return a file system as a UPath or an Airflow ObjectStoragePath has it, for this process.

    Its own may have been made before a fork, and lists from a cache.
    """
    given = path.fs
    return _made(type(given), given.storage_args, given.storage_options | dict(options), scheme)


def _made(kind: Any, args: tuple[Any, ...], options: Mapping[str, Any], scheme: str) -> Any:
    if scheme == "memory":
        return kind(*args, **options)
    own = {"use_listings_cache": False, "skip_instance_cache": True}
    files = kind(*args, **_merged(_DEFAULTS[scheme], options), **own)
    _shorten_retries(files, scheme)
    return files


def _shorten_retries(files: Any, scheme: str) -> None:
    """Bound what no option bounds: the blocks of a large upload, which have no deadline of ours."""
    if scheme == "s3":
        files.retries = 2  # times those of botocore
    if scheme == "abfs":
        policy: Any = getattr(getattr(files.service_client, "_config", None), "retry_policy", None)
        if hasattr(policy, "initial_backoff"):
            policy.initial_backoff = 1  # 15 seconds, then 18 and 24


def _merged(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options and, where they say nothing, the defaults; in mappings too."""
    defaults = deepcopy(dict(defaults))  # botocore writes into its own
    merged: dict[str, Any] = {**defaults, **options}
    for name, default in defaults.items():
        if isinstance(default, dict) and isinstance(options.get(name), Mapping):
            merged[name] = default | dict(options[name])
    return merged
