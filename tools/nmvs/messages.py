"""Requests read strictly, answers written with any prefixes: SOAP document/literal by version (nmvs.md section 3, 8.3 point 2).

Elements and attributes are qualified, their order counts, lengths and characters are those of the published types.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from lxml import etree

from .habits import ENVELOPES, Habits

PREFIXES: Final = itertools.cycle(
    [("soap", "ns1", "ns2"), ("S", "a", "b"), ("SOAP-ENV", "types", "wsdl"), ("ns2", "soap", "x")]
)
"""For the envelope, the types and the wrapper: no client may know any of them."""

_LOGIN = r"[A-Za-z0-9-]{1,20}"
_USER = r"[A-Za-z0-9-]{4,20}"
_PASSWORD = r"(?s:.{8,60})"
_TRX = r"[A-Za-z0-9-]{1,32}"


class Violation(Exception):  # noqa: N818 - the word of the schema
    """The request is not as the schema wants it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(kw_only=True)
class Request:
    """What a request says, as far as it could be read."""

    wrapper: str = ""
    process: str = ""
    """``G615``, ``G445``, ``ping`` or ``confirm``."""
    login: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    sub_user: str | None = None
    software: tuple[str, str, str] = ("", "", "")
    transaction: str = ""
    language: str = "eng"
    tan: str | None = field(default=None, repr=False)
    """None: there is no such element."""
    old: str = field(default="", repr=False)
    new: str = field(default="", repr=False)
    input: str = ""
    secrets: list[str] = field(default_factory=list, repr=False)
    """All that has to be masked where the request is shown."""


def _number() -> str:
    return uuid.uuid4().hex.upper()


@dataclass(kw_only=True)
class Outcome:
    """What an answer says."""

    code: str = "NMVS_SUCCESS"
    text: str = ""
    container: str | None = field(default=None, repr=False)
    """The text of Cert; None: there is no such element."""
    passphrase: str | None = field(default=None, repr=False)
    name: str = "certificate.p12"
    notices: Sequence[tuple[str, str]] = ()
    codes: int = 1
    """How many return codes there are: another number than one is a fault."""
    transaction: str = field(default_factory=_number)


def wrapper_ns(habits: Habits) -> str:
    """Of the wrapper elements."""
    return f"urn:wsdltypes.nmvs.eu:v{habits.version}"


def types_ns(habits: Habits) -> str:
    """Of everything inside."""
    return f"urn:types.nmvs.eu:v{habits.version}"


def read(content: bytes, processes: dict[str, str], habits: Habits, request: Request) -> None:
    """Fills in ``request``; ``processes`` are the wrappers that this place understands. Raises Violation where it stops."""
    top = _parsed(content)
    envelope = ENVELOPES[habits.soap]
    if top.tag != f"{{{envelope}}}Envelope":
        raise Violation("NMVS_TE_XM_02", f"this is no envelope of SOAP {habits.soap}")
    body = top.find(f"{{{envelope}}}Body")
    if body is None or len(body) != 1:
        raise Violation("NMVS_TE_XM_02", "the envelope needs one body with one element")
    wrapper = body[0]
    name = etree.QName(wrapper)
    request.wrapper = name.localname
    if name.namespace != wrapper_ns(habits) or name.localname not in processes:
        raise Violation("NMVS_TE_REQ_02", f"there is no process for {wrapper.tag}")
    request.process = processes[name.localname]
    ns = types_ns(habits)
    if request.process == "ping":
        (text,) = _children(wrapper, ns, "Input")
        request.input = _text(text, r"(?s:.{0,100})")
        return
    header, inner = _children(wrapper, ns, "Header", "Body")
    _header(header, ns, request)
    match request.process:
        case "G615":
            _g615(inner, ns, request, habits)
        case "G445":
            old, new = _children(inner, ns, "Password", "NewPassword")
            request.old, request.new = _secret(old, request), _secret(new, request)
        case _:
            _children(inner, ns)


def write(request: Request, outcome: Outcome, habits: Habits, now: datetime) -> bytes:
    """The answer to a request."""
    soap, types, wrapping = next(PREFIXES)
    envelope, ns, outer = ENVELOPES[habits.soap], types_ns(habits), wrapper_ns(habits)
    top = etree.Element(f"{{{envelope}}}Envelope", nsmap={soap: envelope, types: ns, wrapping: outer})
    body = etree.SubElement(top, f"{{{envelope}}}Body")
    wrapper = request.wrapper or "G615Request"
    wrapped = etree.SubElement(body, f"{{{outer}}}{wrapper.removesuffix('Request')}Response")

    def add(parent: Any, tag: str, text: str | None = None, /, **attributes: str | None) -> Any:
        made = etree.SubElement(parent, f"{{{ns}}}{tag}")
        made.text = text
        for key, value in attributes.items():
            if value is not None:
                made.set(f"{{{ns}}}{key}", value)
        return made

    if request.process == "ping" and outcome.code == "NMVS_SUCCESS":
        add(wrapped, "Output", request.input)
        return _octets(top)
    header = add(wrapped, "Header")
    auth = add(header, "Auth")
    add(auth, "ClientLoginId", request.login)
    add(auth, "UserId", request.user)
    if request.sub_user is not None:
        add(auth, "SubUserId", request.sub_user)
    transaction = add(header, "Transaction")
    add(transaction, "Language", request.language)
    add(transaction, "ClientTrxId", request.transaction)
    add(transaction, "NMVSTrxId", outcome.transaction)
    add(transaction, "Timestamp", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for code, text in outcome.notices:
        add(header, "Notification", notificationCode=code, notificationDesc=text)
    inner = add(wrapped, "Body")
    if outcome.container is not None:
        add(inner, "Cert", outcome.container, name=outcome.name, passphrase=outcome.passphrase)
    for _ in range(outcome.codes):
        add(inner, "ReturnCode", code=outcome.code, desc=outcome.text or None)
    return _octets(top)


def fault(habits: Habits, text: str) -> bytes:
    """A SOAP Fault of the server."""
    envelope = ENVELOPES[habits.soap]
    top = etree.Element(f"{{{envelope}}}Envelope", nsmap={"env": envelope})
    made = etree.SubElement(etree.SubElement(top, f"{{{envelope}}}Body"), f"{{{envelope}}}Fault")
    if habits.soap == "1.1":
        etree.SubElement(made, "faultcode").text = "env:Server"
        etree.SubElement(made, "faultstring").text = text
    else:
        etree.SubElement(etree.SubElement(made, f"{{{envelope}}}Code"), f"{{{envelope}}}Value").text = "env:Receiver"
        reason = etree.SubElement(made, f"{{{envelope}}}Reason")
        told = etree.SubElement(reason, f"{{{envelope}}}Text")
        told.set("{http://www.w3.org/XML/1998/namespace}lang", "en")
        told.text = text
    return _octets(top)


def masked(content: bytes, secrets: Sequence[str]) -> str:
    """A request as it may be shown: without what it holds in Password, NewPassword and Tan, however far it was understood."""
    text = content.decode("utf-8", "replace")
    text = re.sub(r"(<([\w.-]+:)?(Password|NewPassword|Tan)\b[^>]*>)[^<]*", r"\1***", text)
    for each in sorted({each for each in secrets if each}, key=len, reverse=True):
        text = text.replace(each, "***")
    return text[:20_000]


def _octets(top: Any) -> bytes:
    made: bytes = etree.tostring(top, xml_declaration=True, encoding="UTF-8")
    return made


def _parsed(content: bytes) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        top = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Violation("NMVS_TE_XM_01", "the request is not well-formed") from None
    if top.getroottree().docinfo.doctype:
        raise Violation("NMVS_TE_XM_01", "a request has no document type")
    return top


def _header(header: Any, ns: str, request: Request) -> None:
    auth, software, transaction = _children(header, ns, "Auth", "UserSoftware", "Transaction")
    _attributes(auth, ns, optional=("authMethod",))
    login, user, password, *sub = _children(auth, ns, "ClientLoginId", "UserId", "Password", "SubUserId?")
    request.login = _text(login, _LOGIN)
    request.user = _text(user, _USER)
    request.password = _secret(password, request)
    request.sub_user = _text(sub[0], r"(?s:.{0,255})") if sub else None
    found = _attributes(software, ns, required=("name", "supplier", "version"))
    if len(software) or (software.text or "").strip():
        raise Violation("NMVS_TE_XM_02", "UserSoftware is empty")
    for name, most in (("name", 255), ("supplier", 255), ("version", 10)):
        if len(found[name]) > most:
            raise Violation("NMVS_TE_XM_02", f"{name} of UserSoftware has more than {most} characters")
    request.software = (found["name"], found["supplier"], found["version"])
    trx, language = _children(transaction, ns, "ClientTrxId", "Language")
    request.transaction = _text(trx, _TRX)
    request.language = _text(language, r"[a-z]{3}")


def _g615(body: Any, ns: str, request: Request, habits: Habits) -> None:
    found = _children(body, ns, "Tan?")
    if found:
        request.tan = found[0].text or ""
        # What is fixed in a profile is no secret, and an empty one neither.
        request.secrets.extend(each for each in [request.tan] if each not in {"", habits.fixed_tan})
        if request.tan:
            _text(found[0], _PASSWORD)


def _children(parent: Any, ns: str, *names: str) -> Sequence[Any]:
    """The children of these names in this order; one with a question mark may be missing."""
    _no_text(parent)
    waiting = list(names)
    found = []
    for child in _elements(parent):
        while waiting and waiting[0].endswith("?") and child.tag != f"{{{ns}}}{waiting[0][:-1]}":
            waiting.pop(0)
        if not waiting or child.tag != f"{{{ns}}}{waiting[0].removesuffix('?')}":
            wanted = waiting[0] if waiting else "the end"
            raise Violation("NMVS_TE_XM_02", f"{child.tag} where {wanted} is expected")
        waiting.pop(0)
        found.append(child)
    if missing := [each for each in waiting if not each.endswith("?")]:
        raise Violation("NMVS_TE_XM_02", f"{missing[0]} is missing in {etree.QName(parent).localname}")
    return found


def _elements(parent: Any) -> Iterator[Any]:
    return (each for each in parent if isinstance(each.tag, str))


def _no_text(parent: Any) -> None:
    if (parent.text or "").strip() or any((each.tail or "").strip() for each in parent):
        raise Violation("NMVS_TE_XM_02", f"text in {etree.QName(parent).localname}")


def _attributes(element: Any, ns: str, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, str]:
    found = {}
    for key, value in element.attrib.items():
        name = etree.QName(key)
        if name.namespace != ns or name.localname not in {*required, *optional}:
            raise Violation("NMVS_TE_XM_02", f"the attribute {key} is not expected")
        found[name.localname] = value
    if missing := [each for each in required if each not in found]:
        raise Violation("NMVS_TE_XM_02", f"the attribute {missing[0]} is missing")
    return found


def _text(element: Any, pattern: str) -> str:
    text = element.text or ""
    if len(element) or not re.fullmatch(pattern, text):
        raise Violation("NMVS_TE_XM_02", f"the value of {etree.QName(element).localname} is not of its type")
    return text


def _secret(element: Any, request: Request) -> str:
    request.secrets.append(element.text or "")
    return _text(element, _PASSWORD)
