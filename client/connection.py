"""Which server to speak to and with which token.

Order: arguments, then STAGETUNE_SERVER / STAGETUNE_TOKEN / STAGETUNE_TOKEN_FILE, then what a server on this
machine left in STAGETUNE_HOME: connection.json (its URL) and admin-token (readable by its owner only).
STAGETUNE_CA_FILE names the certificates to trust instead of the machine's own.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from client.errors import BadUsage

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Connection:
    """A server and the token for it; the token never shows in the representation."""

    url: str
    token: str | None = field(repr=False)
    ca_file: Path | None = None
    """The authorities that may vouch for the server, instead of the machine's."""


def stagetune_home(environ: Mapping[str, str] = os.environ) -> Path:
    """STAGETUNE_HOME, or ~/.stagetune."""
    return Path(environ.get("STAGETUNE_HOME") or "~/.stagetune").expanduser().absolute()


def datasets_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """STAGETUNE_DATASETS, the folder with files of data sets beside those that were fetched, or None."""
    folder = environ.get("STAGETUNE_DATASETS")
    return Path(folder) if folder else None


def find_connection(
    server: str | None = None,
    token: str | None = None,
    token_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    own_file: str = "admin-token",
    ca_file: Path | None = None,
) -> Connection:
    """Resolve server and token; a token may be missing (the server will say so).

    `own_file` names the file of the home to take for this machine's own server.
    """
    home = stagetune_home(environ)
    local = _local_url(home)
    url = normalised_url(server or environ.get("STAGETUNE_SERVER") or local or DEFAULT_URL)
    if token is None and token_file is not None:
        token = read_token(token_file)
    if token is None:
        token = environ.get("STAGETUNE_TOKEN") or None
    if token is None and (named := environ.get("STAGETUNE_TOKEN_FILE")):
        token = read_token(Path(named))
    # A token of this machine's server is never sent to any other.
    own = home / own_file
    if token is None and _same_server(url, local or DEFAULT_URL) and own.is_file():
        token = read_token(own)
    if ca_file is None and (given := environ.get("STAGETUNE_CA_FILE")):
        ca_file = Path(given)
    return Connection(url, token, ca_file)


def read_token(path: Path) -> str:
    """The token in a file, surrounding blanks removed."""
    try:
        token = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"cannot read the token file {path}: {error}") from None
    if not token:
        raise BadUsage(f"the token file {path} is empty")
    return token


def normalised_url(url: str) -> str:
    """A server's root without trailing slash; a bare host:port is taken as http."""
    url = url.strip()
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise BadUsage(f"{url!r} is no server URL; expected something like {DEFAULT_URL}")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address only reaches this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local_url(home: Path) -> str | None:
    try:
        return normalised_url(str(json.loads((home / "connection.json").read_text(encoding="utf-8"))["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same_server(one: str, other: str) -> bool:
    if one == other:
        return True
    left, right = urlsplit(one), urlsplit(other)
    both_here = is_loopback(left.hostname or "") and is_loopback(right.hostname or "")
    return both_here and left.port == right.port and left.scheme == right.scheme
