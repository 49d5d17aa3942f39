"""Requests to the stand-in written by hand, over a TLS connection of Python's own: nothing here knows the plugin."""

from __future__ import annotations

import http.client
import itertools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tools.nmvs.issuing import Issue
from tools.nmvs.papers import write_private
from tools.nmvs.standin import StandIn

SOAP = "http://www.w3.org/2003/05/soap-envelope"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Reply:
    status: int
    kind: str
    content: bytes

    def tree(self) -> Any:
        return etree.fromstring(self.content)

    def find(self, name: str) -> list[Any]:
        """Elements of this name in whatever namespace."""
        return [each for each in self.tree().iter() if etree.QName(each).localname == name]

    def attribute(self, element: str, name: str) -> str | None:
        """The qualified attribute of the first element of a name."""
        (found, *_) = self.find(element)
        value: str | None = found.get(f"{{{etree.QName(found).namespace}}}{name}")
        return value

    @property
    def code(self) -> str | None:
        return self.attribute("ReturnCode", "code")


def trx() -> str:
    return f"T-{next(_numbers):08d}"


def g615(**changes: Any) -> bytes:
    """A request as nmvs.md section 3 has it; each part may be another."""
    of: dict[str, Any] = {
        "version": "4.0",
        "soap": SOAP,
        "wrapper": "G615Request",
        "login": "PHARMACY-1",
        "user": "machine",
        "password": "Correct-horse-1",
        "sub": "",
        "software": 't:name="by hand" t:supplier="test" t:version="1.0"',
        "trx": trx(),
        "language": "eng",
        "body": "",
        "before": "",
    } | changes
    return (
        f"{of['before']}<e:Envelope xmlns:e='{of['soap']}'"
        f" xmlns:w='urn:wsdltypes.nmvs.eu:v{of['version']}' xmlns:t='urn:types.nmvs.eu:v{of['version']}'><e:Body>"
        f"<w:{of['wrapper']}><t:Header><t:Auth><t:ClientLoginId>{of['login']}</t:ClientLoginId>"
        f"<t:UserId>{of['user']}</t:UserId><t:Password>{escape(of['password'])}</t:Password>{of['sub']}</t:Auth>"
        f"<t:UserSoftware {of['software']}/><t:Transaction><t:ClientTrxId>{of['trx']}</t:ClientTrxId>"
        f"<t:Language>{of['language']}</t:Language></t:Transaction></t:Header><t:Body>{of['body']}</t:Body>"
        f"</w:{of['wrapper']}></e:Body></e:Envelope>"
    ).encode()


def ping(service: str = "Support", text: str = "hello", version: str = "4.0") -> bytes:
    return (
        f"<e:Envelope xmlns:e='{SOAP}' xmlns:w='urn:wsdltypes.nmvs.eu:v{version}' xmlns:t='urn:types.nmvs.eu:v{version}'>"
        f"<e:Body><w:{service}PingRequest><t:Input>{text}</t:Input></w:{service}PingRequest></e:Body></e:Envelope>"
    ).encode()


def post(
    standin: StandIn,
    url: str,
    content: bytes,
    client: Issue | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = 10,
) -> Deferred[Reply]:
    """One call in a thread. Raises what the connection or TLS raises."""
    context = ssl.create_default_context(cafile=str(standin.bundle_path))
    if client is not None:
        context.load_cert_chain(_pem(standin.folder, client))
    return deferToThread(_post, context, url, content, dict(headers or {}), seconds)


def most(standin: StandIn, url: str, content: bytes, client: Issue, octets: int) -> Deferred[int]:
    """How much of an answer comes before it ends, or until this much came."""
    context = ssl.create_default_context(cafile=str(standin.bundle_path))
    context.load_cert_chain(_pem(standin.folder, client))
    return deferToThread(_most, context, url, content, octets)


def _most(context: ssl.SSLContext, url: str, content: bytes, octets: int) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=10)
    connection.request("POST", parts.path, content, {"Content-Type": "application/soap+xml"})
    answer, came = connection.getresponse(), 0
    while came <= octets and (piece := answer.read(1 << 20)):
        came += len(piece)
    connection.close()
    return came


def _post(context: ssl.SSLContext, url: str, content: bytes, headers: dict[str, str], seconds: float) -> Reply:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=seconds)
    try:
        connection.request("POST", parts.path, content, {"Content-Type": "application/soap+xml"} | headers)
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheader("Content-Type", ""), answer.read())
    finally:
        connection.close()


def _pem(folder: Path, issue: Issue) -> Path:
    path = folder / f"{issue.serial:x}.pem"
    key = issue.pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, key + issue.pair.certificate.public_bytes(Encoding.PEM))
    return path
