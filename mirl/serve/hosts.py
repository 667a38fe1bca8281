"""Address of a server, the names under which it is known, and the origins whose pages may use it."""

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property

from mirl.errors import UserError

ANY = "*"
_NAME = r"\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
_HOST = re.compile(rf"({_NAME})\.?(:[0-9]{{1,5}})?")
_ORIGIN = re.compile(rf"https?://((?:{_NAME})(?::[0-9]{{1,5}})?)")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Address at which a server listens. Raises UserError if one of `names` is not a host name."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    """Further names under which clients reach the server, as behind a proxy: NAME or NAME:PORT; `*` is any."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name != ANY and not _HOST.fullmatch(name.lower()):
                raise UserError(
                    f"{name!r} is no name of a host; expected one like mirl.example or mirl.example:8443"
                )


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Host names that requests may ask for."""

    address: Address
    bound: str
    """Numeric address at which the server listens."""

    @property
    def local(self) -> bool:
        """True if only this machine can reach the server."""
        return ipaddress.ip_address(self.bound).is_loopback

    @cached_property
    def _names(self) -> frozenset[str]:
        own = self.address.host.lower()
        given = {name_of(name) or name for name in self.address.names}
        return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{own}]" if ":" in own else own, *given})

    def knows(self, host: str) -> bool:
        """Return whether a Host header names this server.

        A page of another site can make its own name lead here, but not a numeric address. So if other machines can
        reach the server, every numeric address is known.
        """
        name = name_of(host)
        return name is not None and (
            name in self._names or ANY in self._names or (not self.local and _numeric(name))
        )

    def own(self, origin: str, host: str) -> bool:
        """Return whether an Origin header names this server's own page, given the Host header `host`."""
        found = _ORIGIN.fullmatch(origin.lower())
        return found is not None and found[1] in {
            host.lower(),
            *(name.lower() for name in self.address.names),
        }


def name_of(host: str) -> str | None:
    """Return the name in a Host header, in lower case, without port and final dot; None if the header is malformed."""
    found = _HOST.fullmatch(host.lower())
    return found[1] if found else None


def _numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
