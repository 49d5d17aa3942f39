"""The administration interface: JSON over HTTP on a UNIX socket in the station's home folder.

Whoever may open the socket may do everything; it is therefore readable by the station's own user alone. Nothing
here decides anything about sessions or certificates: requests are checked, handed to the rooms that do, and
their answers written down. Routes are grouped into one module per resource; :mod:`oftp2d.admin.server` puts them
together.
"""

from __future__ import annotations

from .collaborators import (
    Desk,
    Dialler,
    ExchangeDesk,
    House,
    ListenerView,
    SessionView,
)
from .server import AdminServer

__all__ = [
    "AdminServer",
    "Desk",
    "Dialler",
    "ExchangeDesk",
    "House",
    "ListenerView",
    "SessionView",
]
