"""Signing in at a proxy, which says in a header who it is."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xclaim.errors import InvalidArgumentError
from xclaim.web.access import AccessDeniedError, Person

if TYPE_CHECKING:
    from starlette.requests import Request

_HEADER = re.compile(r"[A-Za-z0-9-]+")
_LONGEST = 200
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyHeader:
    """Lets in whom a proxy names in a header; of anybody else such a header says nothing.

    ``proxies`` are addresses or networks. They are compared with the address of the connection,
    never with what a header says of it.
    """

    def __init__(self, header: str, proxies: Sequence[str]) -> None:
        if not _HEADER.fullmatch(header):
            raise InvalidArgumentError(
                f"{header!r} is no name of a header: write --auth proxy-header:X-Forwarded-User"
            )
        if not proxies:
            raise InvalidArgumentError(
                f"whose header {header} is to be believed? name the proxy's address or network "
                "with --trusted-proxies, as in --trusted-proxies 10.0.0.5"
            )
        self._header = header
        self._proxies = [_network(each) for each in proxies]

    async def identify(self, request: Request) -> Person:
        """Return whom the proxy names, or raise AccessDeniedError."""
        peer = "" if request.client is None else request.client.host
        if not self._trusts(peer):
            raise AccessDeniedError(
                403, "this dashboard is reached by its proxy, and this request did not come by it"
            )
        names = request.headers.getlist(self._header)
        if len(names) != 1 or not (name := _text(names[0]).strip()):
            raise AccessDeniedError(
                403, f"the proxy did not say who you are, in one header {self._header}"
            )
        if len(name) > _LONGEST or not name.isprintable():
            raise AccessDeniedError(403, f"the header {self._header} has no name of a person")
        return Person(name=name, may_act=True, may_see_payloads=True)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a Unix socket has none
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InvalidArgumentError(
            f"{text!r} is no address and no network: write 10.0.0.5 or 10.0.0.0/24"
        ) from None


def _text(value: str) -> str:
    """Return a header's value as UTF-8, which proxies send, where it is that."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value
