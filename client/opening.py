"""Open a login link in a browser, and show its code to nobody else.

Every user of a machine can read the arguments of a browser. So it is given a file that
only this user can read, and which leads on to the link.
"""

import os
import tempfile
import webbrowser
from html import escape
from pathlib import Path

FILE = "open.html"
_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>stagetune</title>
<p><a href="{link}">Go on to stagetune</a></p>
"""


def open_link(link: str, folder: Path) -> bool:
    """Whether a browser was started; it reads `open.html` in ``folder``, of which there is only ever the last one."""
    try:
        # As the server makes it: as root another account has to get through to its database.
        folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        # In one piece, and with mode 0600 from its first byte on.
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".open-", delete=False, encoding="utf-8") as file:
            file.write(_PAGE.format(link=escape(link)))
        path = Path(file.name).replace(folder / FILE)
    except OSError:
        return False
    return webbrowser.open(path.as_uri())
