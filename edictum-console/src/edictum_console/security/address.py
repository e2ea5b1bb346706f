"""
Where a request comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """
    Return the address of the client.

    Args:
        peer: Who opened the connection; None if that has no address.
        forwarded: The values of ``X-Forwarded-For``, in order.
        trusted: Networks of proxies, whose word about the one before them is believed.
    """
    address = _peer(peer or "")
    claimed = [part for value in forwarded for part in value.split(",")]
    while address is not None and claimed and any(address in network for network in trusted):
        before = _parse(claimed.pop())
        if before is None:
            break
        address = before
    return "unknown" if address is None else str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    # One client is one address, however the socket spells it.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


# Who opens connections opens many; what a header claims can be anything, so it is not remembered.
_peer = lru_cache(4096)(_parse)
