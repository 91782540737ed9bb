"""What every storage promises; each test file of a store runs all of it against the real one."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import multiprocessing
import pickle
import re
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import pytest

from tests.eventually import PATIENCE
from tests.payloads.emulators import Emulator, azure_options, silent
from tests.programs import free_port
from xclaim.errors import (
    InvalidArgumentError,
    PayloadCorruptedError,
    PayloadGoneError,
    PayloadRefusedError,
    StorageError,
)
from xclaim.payloads.stores import remote
from xclaim.payloads.stores.storage import Reference, Storage

MIB = 1024 * 1024
NONE = timedelta(0)
SOON = 60.0  # seconds, with a patience of 2; the clients' own retries would take minutes
SECRETS = ["hunter2", azure_options("")["connection_string"].partition("AccountKey=")[2][:20]]


@dataclass
class Place:
    """A prefix in a store that a test has for itself, and its own way into it."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def storage(self, **options: Any) -> Storage:
        return Storage(self.url, options=self.options | options)

    def beside(self, name: str) -> Place:
        return replace(self, url=f"{self.url.rpartition('/')[0]}/{name}")

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    def files(self) -> Any:
        return fsspec.filesystem(self.scheme, use_listings_cache=False, **self.options)

    def names(self) -> list[str]:
        files = self.files()
        files.invalidate_cache()
        try:
            return [str(name) for name in files.find(self.url)]
        except FileNotFoundError:
            return []

    def overwrite(self, uri: str, content: bytes) -> None:
        files = self.files()
        if "file" in files.protocol:
            files.makedirs(files._parent(uri), exist_ok=True)
        files.pipe_file(uri, content)

    def remove(self, uri: str) -> None:
        self.files().rm_file(uri)


def push(storage: Storage, content: bytes, queue: str = "orders") -> Reference:
    with storage.create(queue) as writer:
        for start in range(0, len(content), 700_000):
            writer.write(content[start : start + 700_000])
        return writer.commit()


def streamed(storage: Storage, reference: Reference) -> bytes:
    with storage.open(reference) as file:
        return b"".join(iter(lambda: file.read(100_000), b""))


def content_of(size: int) -> bytes:
    return (hashlib.sha256(b"seed").digest() * (size // 32 + 1))[:size]


def _read_in_a_child(storage: Storage, reference: Reference, answer: Any) -> None:
    answer.send(storage.read(reference, MIB))


class StorageContract:
    """Subclassed with a fixture ``place``."""

    @pytest.fixture
    def storage(self, place: Place) -> Storage:
        return place.storage()

    # What is written is read

    @pytest.mark.parametrize("size", [0, 1, MIB, 20 * MIB + 17])
    def test_what_is_written_is_read(self, storage: Storage, size: int) -> None:
        content = content_of(size)

        reference = push(storage, content)

        assert reference.size == size
        assert reference.sha256 == hashlib.sha256(content).hexdigest()
        assert streamed(storage, reference) == content
        assert storage.read(reference, limit=size) == content

    def test_objects_lie_below_the_prefix_in_a_folder_of_their_queue(
        self, storage: Storage, place: Place
    ) -> None:
        reference = push(storage, b"x", queue="orders")

        assert storage.url == place.url
        assert reference.uri.startswith(f"{place.url}/orders/")
        assert len(place.names()) == 1

    @pytest.mark.parametrize(
        "queue",
        [
            *("a/b", "..", ".", ".hidden", "a.b", "größe", "100%", "%2e%2e", "a b", "a?b#c*[d]"),
            *("~", "☃", "x" * 255, "é" * 200, "a\\b", "q@r:s", "UPPER", "-", "\ud800", ""),
        ],
    )
    def test_any_queue_name_makes_a_folder_of_its_own(
        self, storage: Storage, place: Place, queue: str
    ) -> None:
        reference = push(storage, b"x", queue=queue)

        assert storage.read(reference, 1) == b"x"
        [found] = storage.objects(NONE)
        assert found.uri == reference.uri
        storage.delete([reference.uri])
        assert place.names() == []

    def test_anything_with_bytes_is_written(self, storage: Storage) -> None:
        with storage.create("orders") as writer:
            counts = [writer.write(part) for part in (b"a", bytearray(b"bc"), memoryview(b"def"))]
            reference = writer.commit()

        assert counts == [1, 2, 3]
        assert storage.read(reference, 10) == b"abcdef"

    def test_a_stream_has_lines_and_pieces(self, storage: Storage) -> None:
        reference = push(storage, b"one\ntwo\nthree")

        with storage.open(reference) as file:
            pieces = [file.readline(), file.read(2), file.read(), file.read()]

        assert pieces == [b"one\n", b"tw", b"o\nthree", b""]

    # Nothing by halves

    @pytest.mark.parametrize("size", [0, 1, 20 * MIB])
    def test_nothing_is_there_before_the_commit(
        self, storage: Storage, place: Place, size: int
    ) -> None:
        writer = storage.create("orders")
        writer.write(content_of(size))

        shown = [name for name in place.names() if not name.endswith(".part")]
        writer.discard()

        assert shown == []

    @pytest.mark.parametrize("size", [0, 1, 20 * MIB])
    def test_what_is_discarded_leaves_nothing(
        self, storage: Storage, place: Place, size: int
    ) -> None:
        with pytest.raises(ZeroDivisionError), storage.create("orders") as writer:
            writer.write(content_of(size))
            _ = 1 / 0

        assert place.names() == []
        assert list(storage.objects(NONE)) == []

    def test_what_is_committed_stays_when_its_block_fails(self, storage: Storage) -> None:
        with pytest.raises(ZeroDivisionError), storage.create("orders") as writer:
            writer.write(b"x")
            reference = writer.commit()
            _ = 1 / 0

        assert storage.read(reference, 1) == b"x"

    def test_a_finished_object_takes_nothing_more(self, storage: Storage) -> None:
        with storage.create("orders") as writer:
            writer.commit()

            with pytest.raises(ValueError, match="finished"):
                writer.write(b"x")
            with pytest.raises(ValueError, match="finished"):
                writer.commit()

    # What is read is what was pushed

    @pytest.mark.parametrize("size", [5, 9 * MIB])
    def test_a_changed_object_has_no_end(self, storage: Storage, place: Place, size: int) -> None:
        content = content_of(size)
        reference = push(storage, content)
        place.overwrite(reference.uri, content[:-1] + b"?")

        with storage.open(reference) as file:
            with pytest.raises(PayloadCorruptedError, match="SHA-256"):
                file.read()
            with pytest.raises(PayloadCorruptedError, match="SHA-256"):
                file.read()
        with pytest.raises(PayloadCorruptedError, match="SHA-256"):
            streamed(storage, reference)
        with pytest.raises(PayloadCorruptedError, match="SHA-256"):
            storage.read(reference, size)

    def test_a_truncated_object_is_corrupted(self, storage: Storage, place: Place) -> None:
        reference = push(storage, b"all of it")
        place.overwrite(reference.uri, b"all of")

        with pytest.raises(PayloadCorruptedError, match="has 6 bytes, not 9"):
            storage.open(reference)

    def test_an_object_larger_than_said_is_corrupted(self, storage: Storage, place: Place) -> None:
        reference = push(storage, b"small")
        place.overwrite(reference.uri, content_of(3 * MIB))

        with pytest.raises(PayloadCorruptedError, match="not 5"):
            storage.read(reference, 5)

    def test_an_empty_object_is_verified_too(self, storage: Storage) -> None:
        reference = replace(push(storage, b""), sha256="0" * 64)

        with pytest.raises(PayloadCorruptedError, match="SHA-256"):
            storage.open(reference)

    def test_two_swapped_objects_are_corrupted(self, storage: Storage) -> None:
        one, two = push(storage, b"one"), push(storage, b"two")

        with pytest.raises(PayloadCorruptedError):
            storage.read(replace(one, uri=two.uri), 3)

    def test_a_payload_that_claims_100_tb_is_not_fetched(self, storage: Storage) -> None:
        claims = replace(push(storage, b"small"), size=100 * 10**12)

        with pytest.raises(PayloadRefusedError, match="stream it"):
            storage.read(claims, limit=MIB)
        with pytest.raises(PayloadCorruptedError, match="has 5 bytes"):
            storage.open(claims)

    # Gone, elsewhere, unreachable

    def test_an_object_that_was_deleted_is_gone(self, storage: Storage, place: Place) -> None:
        reference, _ = push(storage, b"x"), push(storage, b"y")
        place.remove(reference.uri)

        with pytest.raises(PayloadGoneError, match="is not there any more"):
            storage.open(reference)

    @pytest.mark.parametrize(
        ("pattern", "other"),
        [
            *(
                ("/orders/", f"/{folder}/")
                for folder in ("orders/..", "..", "%2e%2e", "...", "a/b")
            ),
            *(("/orders/", path) for path in ("//orders/", "/orders/./", "/", "-x/orders/")),
            *(("://", other) for other in ("://other", "://user@", "//", "", "s://", "::")),
            (".*", "file:///etc/passwd"),
            (".*", ""),
            *(("^", wrapper) for wrapper in ("simplecache::", " ", "http://")),
            *(("$", end) for end in ("?versionId=1", "/", "\n", "0", "#")),
            *((".$", last) for last in ("*", "/", "", "G")),
        ],
    )
    def test_a_reference_that_leads_elsewhere_is_refused(
        self, storage: Storage, pattern: str, other: str
    ) -> None:
        reference = push(storage, b"x")
        crafted = replace(reference, uri=re.sub(pattern, other, reference.uri, count=1))

        with pytest.raises(PayloadRefusedError):
            storage.open(crafted)
        with pytest.raises(PayloadRefusedError):
            storage.read(crafted, 1)
        with pytest.raises(PayloadRefusedError):
            storage.delete([reference.uri, crafted.uri])
        assert storage.read(reference, 1) == b"x"

    def test_an_object_of_another_prefix_is_read_when_it_is_allowed(self, place: Place) -> None:
        reference = push(place.beside("earlier").storage(), b"x")
        moved = Storage(place.url, options=place.options, read_from=[place.beside("earlier").url])

        with pytest.raises(PayloadRefusedError, match="read_from"):
            place.storage().open(reference)
        assert moved.read(reference, 1) == b"x"
        moved.delete([reference.uri])
        assert place.beside("earlier").names() == []

    # Deleting and finding

    def test_deleting_twice_is_fine(self, storage: Storage, place: Place) -> None:
        kept, *references = [push(storage, b"x") for _ in range(4)]

        storage.delete(reference.uri for reference in references)
        storage.delete([kept.uri, *(reference.uri for reference in references)])
        storage.delete([])

        assert place.names() == []

    def test_objects_are_found_by_their_age(self, storage: Storage) -> None:
        reference = push(storage, b"12345")

        [found] = storage.objects(NONE)

        assert (found.uri, found.size) == (reference.uri, 5)
        assert abs(found.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert list(storage.objects(timedelta(hours=1))) == []

    def test_objects_of_others_are_not_found(self, storage: Storage, place: Place) -> None:
        reference = push(storage, b"x")
        for name in ("readme.txt", "orders/readme.txt", "orders/deep/" + "a" * 32, "other/x"):
            place.overwrite(f"{place.url}/{name}", b"mine")

        assert [found.uri for found in storage.objects(NONE)] == [reference.uri]

    def test_an_empty_storage_has_no_objects(self, storage: Storage) -> None:
        assert list(storage.objects(NONE)) == []

    def test_objects_of_several_folders_and_of_one_do_not_see_each_other(
        self, storage: Storage, place: Place
    ) -> None:
        payload = push(storage, b"payload")
        deep = Storage(place.url, options=place.options, folders=3)

        with deep.create("orders", "..", "größe/~") as writer:
            writer.write(b"deep")
            reference = writer.commit()

        assert deep.read(reference, 4) == b"deep"
        assert [found.uri for found in deep.objects(NONE)] == [reference.uri]
        assert [found.uri for found in storage.objects(NONE)] == [payload.uri]
        for one, other in ((storage, reference), (deep, payload)):
            with pytest.raises(PayloadRefusedError):
                one.delete([other.uri])
        deep.delete([reference.uri])
        assert list(deep.objects(NONE)) == []

    def test_an_object_has_a_name_for_each_folder(self, place: Place) -> None:
        with pytest.raises(InvalidArgumentError, match="needs 2 names, not 1"):
            Storage(place.url, options=place.options, folders=2).create("orders")

    # Processes, threads and loops

    def test_a_storage_is_pickled_without_its_options(
        self, storage: Storage, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reference = push(storage, b"x")
        monkeypatch.setenv("XCLAIM_STORAGE", f"{place.scheme}://elsewhere/payloads")
        monkeypatch.setenv("XCLAIM_STORAGE_OPTIONS", json.dumps(dict(place.options)))

        pickled = pickle.dumps(storage)
        again = pickle.loads(pickle.dumps(pickle.loads(pickled)))  # noqa: S301

        assert not any(str(value).encode() in pickled for value in place.options.values())
        assert again.read(reference, 1) == b"x"

    def test_copies_of_a_storage_are_the_storage(self, storage: Storage) -> None:
        assert copy.copy(storage) is storage
        assert copy.deepcopy([storage])[0] is storage

    def test_an_object_is_in_the_folder_of_its_queue_and_in_no_other(
        self, storage: Storage
    ) -> None:
        for queue in ("orders", "orders/eu", "q" * 199, "zoë"):
            reference = push(storage, b"x", queue)

            assert storage.is_in(reference.uri, queue)
            assert not storage.is_in(reference.uri, "other")
            assert not storage.is_in(f"{reference.uri}/..", queue)
            assert not storage.is_in(reference.uri.replace(storage.url, f"{storage.url}2"), queue)

    def test_a_storage_works_inside_a_running_loop_and_its_threads(self, storage: Storage) -> None:
        async def run() -> tuple[bytes, bytes]:
            reference = await asyncio.to_thread(push, storage, b"x")
            return storage.read(reference, 1), await asyncio.to_thread(storage.read, reference, 1)

        assert asyncio.run(run()) == (b"x", b"x")


class SharedStorageContract(StorageContract):
    """The promises of storages that are more than one process's memory."""

    def test_a_fork_uses_connections_of_its_own(self, storage: Storage) -> None:
        reference = push(storage, b"x")
        fork = multiprocessing.get_context("fork")
        here, there = fork.Pipe(duplex=False)

        child = fork.Process(target=_read_in_a_child, args=(storage, reference, there))
        child.start()

        with closing(here):
            assert here.poll(PATIENCE)
            assert here.recv() == b"x"
        child.join(PATIENCE)
        assert storage.read(reference, 1) == b"x"


class CloudStorageContract(SharedStorageContract):
    """The promises of storages behind a network; with options that lead to ``port`` too."""

    many = 1100  # more than a page of S3

    def options_to(self, port: int) -> dict[str, Any]:
        raise NotImplementedError

    def test_a_bucket_that_is_not_there_is_not_a_payload_that_is_gone(self, place: Place) -> None:
        missing = replace(place, url=f"{place.scheme}://xclaim-missing/payloads")

        check_unreachable(missing.storage(), "the folder or bucket is not there")

    def test_a_pickle_without_the_options_it_had_says_so(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reference = push(storage, b"x")
        again = pickle.loads(pickle.dumps(storage))  # noqa: S301

        for url in (None, "file:///elsewhere"):
            monkeypatch.delenv("XCLAIM_STORAGE", raising=False)
            if url is not None:  # the options of another kind of storage are not for this one
                monkeypatch.setenv("XCLAIM_STORAGE", url)
                monkeypatch.setenv("XCLAIM_STORAGE_OPTIONS", '{"key": "other"}')
            with pytest.raises(StorageError, match="left out of a pickle"):
                again.read(reference, 1)

    def test_a_refused_connection_is_said_soon(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "_PATIENCE", 2.0)
        refusing = replace(place, options=self.options_to(free_port()))

        check_unreachable(refusing.storage(), "check the address, the network")

    def test_a_server_that_does_not_answer_is_said_soon(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "_PATIENCE", 2.0)
        with silent() as port:
            stalling = replace(place, options=self.options_to(port))

            check_unreachable(stalling.storage(), "check the address, the network")

    def test_a_server_that_stops_meanwhile_is_said(self) -> None:
        with self.another_server() as server:
            place = Place(
                url=f"{server.scheme}://{server.new_bucket()}/payloads",
                options=dict(server.options),
            )
            storage = place.storage()
            reference = push(storage, content_of(20 * MIB))
            with storage.open(reference) as file, pytest.MonkeyPatch.context() as patch:
                patch.setattr(remote, "_PATIENCE", 2.0)
                patch.setattr(remote, "_SLOW", 100_000_000)
                file.read(1)
                server.process.kill()
                server.process.wait()

                with pytest.raises(StorageError, match="cannot read from"):
                    file.read()

    def another_server(self) -> AbstractContextManager[Emulator]:
        raise NotImplementedError

    def test_many_objects_are_found_and_deleted(self, place: Place) -> None:
        storage = place.storage()
        names = [f"{place.url}/orders/{number:032x}" for number in range(self.many)]
        place.files().pipe(dict.fromkeys(names, b"x"))

        found = [one.uri for one in storage.objects(NONE)]
        storage.delete(found)

        assert sorted(found) == names
        assert list(storage.objects(NONE)) == []


def check_unreachable(storage: Storage, why: str) -> None:
    """Check that every verb says that the storage fails, soon, and shows no secret."""
    never_pushed = Reference(uri=f"{storage.url}/orders/{'0' * 32}", size=1, sha256="0" * 64)
    verbs: list[Callable[[], object]] = [
        lambda: push(storage, b"x"),
        lambda: storage.read(never_pushed, MIB),
        lambda: storage.delete([never_pushed.uri]),
        lambda: list(storage.objects(NONE)),
    ]
    for verb in verbs:
        began = time.monotonic()
        with pytest.raises(StorageError, match=re.escape(storage.url)) as failed:
            verb()
        assert why in str(failed.value)
        assert failed.value.__cause__ is not None
        assert time.monotonic() - began < SOON
        shown = "".join(traceback.format_exception(failed.value))
        assert not any(secret in shown for secret in SECRETS)
