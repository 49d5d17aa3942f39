"""What may go wrong on purpose (nmvs.md 8.3 point 8), for the next calls or until it is cleared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One way to go wrong; those up to CODE leave the user's certificates alone."""

    HTTP_503 = "http 503"
    HTTP_500 = "http 500"
    """With an HTML page."""
    REDIRECT = "redirect"
    """To another path of the same listener, which answers as if nothing were wrong."""
    HANG = "hang"
    CLOSE = "close"
    """The connection ends without an answer."""
    OVERSIZE = "oversize"
    HTML = "html"
    NOT_XML = "not xml"
    EMPTY = "empty"
    SOAP_FAULT = "soap fault"
    DTD = "dtd"
    ENTITY_BOMB = "entity bomb"
    EXTERNAL_ENTITY = "external entity"
    DEEP = "deep"
    """Elements within elements, fifty thousand of them."""
    OTHER_ELEMENT = "other element"
    """A sound envelope with an answer of another process."""
    CODE = "code"
    """The answer has the code that is given with the fault."""
    CUT_OFF = "cut off"
    """From here on the certificate was given out, and the answer to it is wrong."""
    NO_CERTIFICATE = "no certificate"
    NO_PASSPHRASE = "no passphrase"
    WRONG_PASSPHRASE = "wrong passphrase"
    OTHER_USER = "other user"
    RUBBISH = "rubbish"
    """Base64 of what is no container."""
    NOT_BASE64 = "not base64"
    NO_CODE = "no code"
    TWO_CODES = "two codes"
    OLD_CERTIFICATE = "old certificate"
    """The certificate in use once more, in a new container."""


@dataclass
class Planned:
    """A fault that is on."""

    fault: Fault
    calls: int | None = None
    """How often; None: until it is cleared."""
    process: str = ""
    """Only for this one: ``G615``, ``G445``, ``ping``, ``confirm``."""
    code: str = ""
    """For CODE."""


class Faults:
    """Those that are on, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._planned: list[Planned] = []

    def on(self, fault: Fault, *, calls: int | None = None, process: str = "", code: str = "") -> None:
        """Go wrong so for the next calls, or until it is cleared."""
        if (fault is Fault.CODE) != bool(code):
            raise ValueError("the fault 'code' needs a code, and no other takes one")
        if calls is not None and calls < 1:
            raise ValueError("calls is 1 or more")
        self._planned.append(Planned(fault, calls, process, code))

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        self._planned.clear()

    def all(self) -> list[Planned]:
        return list(self._planned)

    def next(self, process: str) -> Planned | None:
        """What goes wrong with this call."""
        found = next((each for each in self._planned if each.process in {"", process}), None)
        if found is not None and found.calls is not None:
            found.calls -= 1
            if not found.calls:
                self._planned.remove(found)
        return found
