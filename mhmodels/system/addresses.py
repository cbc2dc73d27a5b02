"""Web addresses without what must not be kept or shown: user names, passwords, tokens."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>()]+")
_SHORTEST_SECRET = 4
_UNREADABLE = "an address that cannot be read"


def public_address(address: str) -> str:
    """Returns an address without user, password, query and fragment: signed links carry their secrets there."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(SplitResult(parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return _UNREADABLE


def without_secrets(text: str) -> str:
    """Returns a text in which every web address is a public one."""
    return _ADDRESS.sub(lambda found: public_address(found[0]), text)


def without_secrets_of(address: str, text: str) -> str:
    """Returns a text about one address, such as an error that quotes a part of it, without the secrets of that address.

    Args:
        address: The address with its secrets.
        text: Text to clean.
    """
    text = without_secrets(text)
    _, _, rest = address.partition("://")
    authority, _, _ = rest.partition("/")
    user, _, _ = authority.rpartition("@")
    before, _, fragment = address.partition("#")
    query = before.partition("?")[2]
    secrets = [query, fragment, user, *user.split(":"), *(part.partition("=")[2] for part in query.split("&"))]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return text
