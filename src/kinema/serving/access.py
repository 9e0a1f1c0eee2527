"""Who may use the web page: a token where it is reached from elsewhere, and never another site's page in somebody's browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from kinema.errors import KinemaError

COOKIE = "kinema"
_LEAST_TOKEN = 12
_HERE = {"localhost", "127.0.0.1", "::1"}


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """What requests are let in.

    With a token: those that bring it, as `Authorization: Bearer TOKEN`, or the cookie that the page gets for it. Without one: those to
    a name of this machine, so that no other site's name leads here. Either way none that comes from another site's page.

    Raises `KinemaError` where the server would be reached from elsewhere without a token, or with one that is easily guessed.
    """

    def __init__(self, host: str, token: str | None):
        if token is None and not is_loopback(host):
            such = secrets.token_urlsafe(16)
            raise KinemaError(f"at {host} other machines reach the server: a token is expected, such as --token {such}")
        if token is not None and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable()):
            raise KinemaError(f"the token is too easily guessed; {_LEAST_TOKEN} or more letters and digits are expected")
        self.needed = token is not None
        self._token = (token or "").encode()
        self._hosts = _HERE | {host.strip("[]").lower()}

    @property
    def cookie(self) -> str:
        """What the browser keeps in place of the token."""
        return hmac.new(self._token, b"kinema page", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        return self.needed and hmac.compare_digest(token.encode(), self._token)

    def allows(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request may see and do anything."""
        if not self.needed:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(given.strip()):
            return True
        return hmac.compare_digest(cookies.get(COOKIE, "").encode(), self.cookie.encode())

    def flaw(self, headers: Mapping[str, str]) -> str:
        """Why a request comes from, or by way of, somewhere else; empty where it does not."""
        host = headers.get("host", "")
        if not self.needed and (_hostname(f"//{host}") not in self._hosts):
            return f"{host[:80]!r} is no name of this machine"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"a page of {origin[:80]} may not use this server"
        return ""


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
