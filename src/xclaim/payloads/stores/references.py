"""References to stored objects, the locations they must lie in, and how objects are named."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import uuid4

from xclaim.errors import InvalidArgumentError, PayloadCorruptedError

if TYPE_CHECKING:
    from datetime import datetime

# One name for each store, so that equal places are equal texts.
_SCHEMES = {
    "file": "file",
    "local": "file",
    "memory": "memory",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "abfs": "abfs",
    "abfss": "abfs",
    "az": "abfs",
    "wasb": "abfs",
    "wasbs": "abfs",
}
_AZURE_HOST = re.compile(r"([a-z0-9]+)\.(?:blob|dfs)\.core\.windows\.net")
# Patterns to fsspec, queries to some of its stores, escapes to the others.
_AMBIGUOUS = re.compile(r"[*?\[\]#%\\\x00-\x1f\x7f]")
# No name needs an escape in any store or URL, none is hidden, and none leads elsewhere.
_FOLDER = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_OBJECT = re.compile(r"[0-9a-f]{32}")
_ESCAPED = re.compile(r"~([0-9a-f]{2})")
_UNFINISHED = ".part"
_LONGEST_FOLDER = 120  # of the 255 that file systems allow
_DIGEST_LENGTH = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a payload lies; its size and SHA-256 are those of the bytes in the storage.

    Raise PayloadCorruptedError for what no push can have written.
    """

    uri: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        uri, size, sha256 = cast(
            "tuple[object, object, object]", (self.uri, self.size, self.sha256)
        )
        proper = isinstance(uri, str) and type(size) is int and size >= 0
        if not proper or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise PayloadCorruptedError(
                "the row's reference to its payload is malformed (uri, size or sha256): it was not "
                "written by xclaim; restore the row"
            )


class OwnObject(NamedTuple):
    """An object as a row names it, and the queue that the row's message was pushed to.

    It is the row's only if it lies in the folder of this queue: who may write rows of one queue
    could name the objects of another.
    """

    uri: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object found in a storage, named as xclaim names them; it may be an unfinished one."""

    uri: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A prefix that objects lie below: ``root`` is ``bucket/folder``, or an absolute path.

    ``folders`` is how many folders there are between the two: what lies deeper, or less deep, is
    somebody else's.
    """

    scheme: str
    root: str
    account: str | None = None
    folders: int = 1

    @property
    def url(self) -> str:
        """Return the location as a URL, without an account and without a slash at the end."""
        return f"{self.scheme}://{self.root}"

    @property
    def bucket(self) -> str:
        """Return the bucket or container."""
        return self.root.split("/", 1)[0]

    def new_path(self, *names: str) -> str:
        """Return a path nobody else has: the names say the queue, and the last cannot be guessed.

        Raise InvalidArgumentError unless there is a name for each folder.
        """
        if len(names) != self.folders:
            raise InvalidArgumentError(f"an object needs {self.folders} names, not {len(names)}")
        return "/".join([self.root, *map(folder_of, names), uuid4().hex])

    def uri_of(self, path: str) -> str:
        """Return how a row names the object at the path."""
        return f"{self.scheme}://{path}"

    def path_of(self, uri: str) -> str | None:
        """Return the path of an object of ours below this prefix, ``None`` for anything else.

        Compared as text: every other spelling (``..``, ``//``, escapes, another scheme) is none.
        """
        if not uri.startswith(f"{self.url}/") or not self.has(uri[len(self.url) + 1 :]):
            return None
        return uri.removeprefix(f"{self.scheme}://")

    def is_in(self, path: str, *names: str) -> bool:
        """Return whether an object of ours at the path lies in the folders of these names."""
        *folders, _ = path.split("/")
        return folders == [*self.root.split("/"), *map(folder_of, names)]

    def has(self, name: str) -> bool:
        """Return whether the name, relative to the prefix, is one that xclaim gives."""
        *folders, last = name.split("/")
        return (
            len(folders) == self.folders
            and all(_FOLDER.fullmatch(folder) for folder in folders)
            and _OBJECT.fullmatch(last.removesuffix(_UNFINISHED)) is not None
        )


def unfinished(path: str) -> str:
    """Return the name that an object has until it is complete, where a store shows it."""
    return path + _UNFINISHED


def is_unfinished(path: str) -> bool:
    """Return whether the name is that of an object which never was complete."""
    return path.endswith(_UNFINISHED)


def parse_location(location: str) -> Location:
    """Return the location that a URL or an absolute path names.

    Raise InvalidArgumentError, which shows the text only where it cannot hold a password.
    """
    if location.startswith("/"):
        return _file_location(location)
    scheme, separator, rest = location.partition("://")
    known = _SCHEMES.get(scheme.lower())
    if not separator or known is None:
        raise InvalidArgumentError(
            "the storage must be a URL that begins with "
            f"{', '.join(sorted(f'{name}://' for name in set(_SCHEMES.values())))}, "
            "or an absolute path"
        )
    if known == "file":
        return _file_location(rest)
    host, slash, path = rest.partition("/")
    host, account = _without_user(known, host)
    return _checked(known, f"{host}{slash}{path}".rstrip("/"), account)


def location_of_path(path: Any) -> Location:
    """Return the location of a UPath or an Airflow ObjectStoragePath."""
    scheme = _SCHEMES.get(path.protocol or "file")
    if scheme is None:
        raise InvalidArgumentError(f"payloads cannot be stored in {path.protocol}://")
    if scheme == "file":
        return _file_location(path.path)
    return _checked(scheme, path.path.strip("/"), None)


def _file_location(path: str) -> Location:
    if not path.startswith("/"):
        raise InvalidArgumentError(
            "the storage folder must be an absolute path: file:///var/lib/xclaim, three slashes"
        )
    root = path.rstrip("/")
    if not root:
        raise InvalidArgumentError("the storage folder must not be the root folder: name one in it")
    _check_segments(root[1:])
    return Location(scheme="file", root=os.path.normpath(root))


def _without_user(scheme: str, host: str) -> tuple[str, str | None]:
    """Return bucket and account of ``container@account.dfs.core.windows.net``."""
    user, at, name = host.rpartition("@")
    if not at:
        return host, None
    account = _AZURE_HOST.fullmatch(name)
    if scheme == "abfs" and account is not None and ":" not in user:
        return user, account.group(1)
    raise InvalidArgumentError(
        "the storage URL has something before an @: for conn_id@bucket pass Airflow's "
        "ObjectStoragePath, credentials belong into the storage options, not into the URL"
    )


def _checked(scheme: str, root: str, account: str | None) -> Location:
    if not root:
        raise InvalidArgumentError(f"the storage URL must name a bucket: {scheme}://bucket/folder")
    _check_segments(root)
    return Location(scheme=scheme, root=root, account=account)


def _check_segments(root: str) -> None:
    if _AMBIGUOUS.search(root) or {"", ".", ".."} & set(root.split("/")):
        raise InvalidArgumentError(
            "the storage URL must be plain: no empty, . or .. parts, and none of *?[]#%\\"
        )


def folder_of(queue: str) -> str:
    """Return the queue's name without what a store or a URL could misread.

    ``orders/eu`` becomes ``orders~2feu``. The tilde needs no escape anywhere, other than the
    percent sign, which some clients escape once more and others take for an escape.
    """
    raw = queue.encode(errors="surrogatepass")
    folder = "".join(
        chr(byte) if _is_plain(byte, first=index == 0) else f"~{byte:02x}"
        for index, byte in enumerate(raw)
    )
    if len(folder) >= _LONGEST_FOLDER:  # at this length none is kept whole, or two could be one
        digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_LENGTH]
        return f"{folder[: _LONGEST_FOLDER - _DIGEST_LENGTH - 1]}~{digest}"
    return folder or "~"


def text_of_folder(folder: str) -> str | None:
    """Return the name that a folder was made of; None where it was too long to be kept whole."""
    if len(folder) == _LONGEST_FOLDER:
        return None
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), folder)
    try:
        return text.encode("latin-1").decode(errors="surrogatepass")
    except UnicodeDecodeError:  # no folder of ours
        return None


def _is_plain(byte: int, *, first: bool) -> bool:
    character = chr(byte)
    return character.isascii() and (
        character.isalnum() or character in "_-" or (character == "." and not first)
    )
