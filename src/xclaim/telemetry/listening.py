"""What is said of an address at which no server can listen."""

from __future__ import annotations

import errno

from xclaim.errors import InvalidArgumentError

_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> InvalidArgumentError:
    """Return the error that names the address, and the option to change."""
    reason = getattr(error, "strerror", None) or error
    way_out = "name an address of this machine with --host"
    if isinstance(error, OSError) and error.errno in _OF_THE_PORT:
        way_out = "choose another port with --port, where 0 takes a free one"
    return InvalidArgumentError(f"cannot listen at {host}:{port} ({reason}): {way_out}")
