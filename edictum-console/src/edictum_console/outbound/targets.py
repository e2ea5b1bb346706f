"""
Where the console may connect to, and the only place that opens such a connection.

People name hosts to which the console then connects from inside of a network.  So a name is resolved once, every
address that it has is judged, and the connection goes to one of those that were judged: a name that changes its mind
meanwhile changes nothing.  What an address looks like in a URL does not matter: only what it resolves to is judged.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import attrs

from edictum_console.outbound.errors import RefusedTargetError, UnreachableError

Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_MOST_ADDRESSES = 4

# Ways to write an IPv4 address as one of IPv6; the last is where a network translates one into the other.
_MAPPED = ip_network("::ffff:0:0/96")
_TRANSLATED = ip_network("64:ff9b::/96")
_TUNNELS = tuple(map(ip_network, ("::/96", "2001::/32", "2002::/16", "64:ff9b:1::/48")))


async def resolve(host: str, port: int) -> list[str]:
    """
    Return the addresses of a host, as the operating system knows them.

    Raises:
        UnreachableError: It has none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UnreachableError("the name of the host is not known") from None
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


@attrs.frozen
class Targets:
    """
    What may be connected to: public addresses, and networks that the operator names.

    Attributes:
        networks: Networks that are not public and may be reached nevertheless.
        resolve: Finds the addresses of a host.
    """

    networks: tuple[Network, ...] = ()
    resolve: Resolve = resolve

    async def addresses(self, host: str, port: int) -> list[str]:
        """
        Return the addresses of a host, none of which is refused.

        Raises:
            RefusedTargetError: It has one that must not be reached.
            UnreachableError: It has none.
        """
        found = await self.resolve(host, port)
        if not found:
            raise UnreachableError("the name of the host is not known")
        if not all(self.allows(text) for text in found):
            raise RefusedTargetError("the host has an address that is not public")
        return list(found[:_MOST_ADDRESSES])

    def allows(self, text: str) -> bool:
        """
        Whether an address may be connected to.
        """
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        return is_public(address) or any(address in network for network in self.networks)

    async def connect(self, host: str, port: int) -> socket.socket:
        """
        Connect to a host by an address that was judged.

        Raises:
            RefusedTargetError: It must not be reached.
            UnreachableError: It does not answer.
        """
        loop = asyncio.get_running_loop()
        for address in await self.addresses(host, port):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, (address, port))
            except OSError:
                connection.close()
                continue
            except BaseException:
                connection.close()
                raise
            return connection
        raise UnreachableError("the host does not take connections")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """
    Whether an address is one of the public internet, and is written as such.
    """
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address in _MAPPED or any(address in network for network in _TUNNELS):
            return False
        if address.is_site_local:
            return False
    # What counts as global changed between versions of Python; the others are named so that none passes in any.
    others = (
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_private,
        address.is_reserved,
        address.is_unspecified,
    )
    return address.is_global and not any(others)
