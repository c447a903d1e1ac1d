"""Which IP addresses belong to the public Internet. Knows no names, no URLs and no network.

Stricter than `ipaddress`'s is_global, which differs between Python versions, calls multicast global, and looks at an IPv6 address without the IPv4
address inside it, where the packets end up.
"""

import ipaddress

# What is_global of some Python lets through: protocol assignments (IANA) and the anycast relays of 6to4.
_SPECIAL_4 = tuple(ipaddress.IPv4Network(each) for each in ("192.0.0.0/24", "192.88.99.0/24"))
# All that is handed out as global unicast lies here; site-local, IPv4-compatible and a site's own NAT64 (64:ff9b:1::/48) do not.
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION_6 = ipaddress.IPv6Network("3fff::/20")
# NAT64: the way to IPv4 of networks that have none.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether all that `address` leads to is a global unicast address. False too for what is no address, and for one tied to an interface (%eth0)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return _public_4(found)
    if found.scope_id is not None:
        return False
    inside = _inside(found)
    if inside is not None:
        return _public_4(inside)
    # Teredo (2001::/32), which carries two IPv4 addresses, is not global for any Python.
    return found in _UNICAST_6 and found not in _DOCUMENTATION_6 and found.is_global and found.teredo is None


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address is another spelling of, or a tunnel to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def _public_4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and not any(address in network for network in _SPECIAL_4)
