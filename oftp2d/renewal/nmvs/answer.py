"""What an answer says: its code, its notifications, and the certificate in it; and what it is where it is none (nmvs.md 3, 8.3).

An answer may be anything. What is not understood is a :class:`Refusal` with a text of its own, so that who reads it knows what
came: HTML, a SOAP fault, half a message, a document type, an error of HTTP. Names are compared by namespace, never by prefix.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Final
from urllib.parse import unquote

from oftp2d.renewal.interface import Notification, Refusal, Verdict
from oftp2d.renewal.nmvs.attachments import PartsError, is_of_parts, taken_apart
from oftp2d.renewal.nmvs.codes import LONGEST_CODE, Codes, shown
from oftp2d.renewal.nmvs.contract import Contract
from oftp2d.renewal.nmvs.markup import ENVELOPES, CutOffError, Element, MarkupError, parsed, text_of, whole_text_of
from oftp2d.renewal.nmvs.profile import CertEncoding, PassphraseFrom
from oftp2d.renewal.nmvs.reply import Reply
from oftp2d.vault import Secret

MOST_NOTIFICATIONS: Final = 20
LONGEST_RETRY_AFTER: Final = timedelta(days=1)

_OF_LOGIN: Final = frozenset({Verdict.AUTH_FAILED, Verdict.LOCKED})
_WORD: Final = re.compile("[A-Za-z0-9_]{4,}")
_MOST_WORDS: Final = 1_000
_MOST_LETTERS: Final = 10_000
"""Of each text in which a code is looked for."""
_INCLUDE: Final = "{http://www.w3.org/2004/08/xop/include}Include"
_COMPARE: Final = "compare the profile with FD-002; the answer is kept for you"


class RefusedError(Exception):
    """The answer brings no credential: ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer that was understood, whether it brings something or not."""

    verdict: Verdict
    """FETCHED for success, whatever succeeded."""
    code: str
    text: str = ""
    advice: str = ""
    after: timedelta | None = None
    transaction: str = ""
    notifications: tuple[Notification, ...] = ()
    known: bool = True
    """Whether the profile has a word for the code."""
    root: Element = field(default=None, repr=False)
    parts: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def refusal(self) -> Refusal:
        """The same for who waits for a credential."""
        return Refusal(
            verdict=self.verdict,
            code=self.code,
            text=self.text,
            advice=self.advice,
            after=self.after,
            understood=self.known,
            transaction=self.transaction,
            notifications=self.notifications,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a successful answer holds."""

    content: Secret[bytes]
    passphrase: Secret[bytes] | None


def understood(contract: Contract, expected: str, reply: Reply, secrets: Iterable[str] = ()) -> Said:
    """What a call with a result code brought. ``secrets`` are never repeated, whatever the server repeats of them.

    Raises:
        RefusedError: it is not the answer of the service.
    """
    root, parts = _service(contract, expected, reply, secrets)
    places = contract.places
    code = _printable(_first(places.code.found(root)))
    if not code:
        raise _login(contract, root) or _refused(Verdict.FATAL, "the answer has no result code", _COMPARE)
    meaning = contract.codes.meaning(code)
    told = _scrubbed(_first(places.desc.found(root)) if places.desc else "", secrets)
    text = (
        meaning.text or told or ("the server says no more" if meaning.known else "this result code is not known here")
    )
    if told and told not in text:
        text = f"{text} ({told})"
    return Said(
        verdict=meaning.verdict,
        code=_scrubbed(code, secrets),
        text=text,
        advice=meaning.advice,
        after=meaning.after,
        transaction=_scrubbed(_first(places.transaction.found(root)) if places.transaction else "", secrets)[
            :LONGEST_CODE
        ],
        notifications=_notifications(contract, root, secrets),
        known=meaning.known,
        root=root,
        parts=parts,
    )


def brings_nothing(contract: Contract, said: Said) -> Refusal:
    """Why there is no certificate in an answer without success; one that holds a certificate all the same is kept.

    What is said of the login counts whatever else came: nothing may be tried again then.
    """
    if said.verdict in {Verdict.AUTH_FAILED, Verdict.LOCKED} or not contract.places.cert.found(said.root):
        return said.refusal
    text = f"a certificate came, but not with success: {said.text}"
    return replace(said.refusal, verdict=Verdict.FATAL, text=text, advice=_COMPARE, after=None, understood=False)


def answered(contract: Contract, expected: str, reply: Reply) -> None:
    """A call without a result code, such as a ping, was answered as expected. Raises RefusedError."""
    _service(contract, expected, reply, ())


def certificate(contract: Contract, said: Said, tan: Secret[bytes] | None, agreed: Secret[str] | None) -> Certificate:
    """The certificate in a successful answer. ``agreed`` is the passphrase that was agreed on, if there is one.

    Raises:
        RefusedError: there is none, or it cannot be had.
    """
    found = contract.places.cert.found(said.root)
    if not found or not (text_of(found[0]) or _included(found[0])):
        advice = f"call the help desk with the number of the transaction; {_COMPARE}"
        raise _refused(Verdict.FATAL, "the server says success, and no certificate came with it", advice, said)
    if len(found) > 1:
        raise _refused(Verdict.FATAL, f"{len(found)} certificates came where one is expected", _COMPARE, said)
    content = _decoded(contract.profile.response.encoding, found[0], said)
    return Certificate(content=Secret(content), passphrase=_passphrase(contract, said, tan, agreed))


def _passphrase(
    contract: Contract, said: Said, tan: Secret[bytes] | None, agreed: Secret[str] | None
) -> Secret[bytes] | None:
    match contract.profile.response.passphrase_from:
        case PassphraseFrom.NONE:
            return None
        case PassphraseFrom.TAN:
            if tan is None:
                advice = "correct response.passphrase_from in the profile: no TAN was sent; the answer is kept for you"
                raise _refused(Verdict.FATAL, "the passphrase is to be the TAN, and there was none", advice, said)
            return tan
        case PassphraseFrom.SECRET:
            if agreed is None:
                advice = "set passphrase in the credential set, or correct response.passphrase_from; the answer is kept for you"
                raise _refused(Verdict.FATAL, "no passphrase was agreed on", advice, said)
            return Secret(agreed.reveal().encode())
    place = contract.places.passphrase
    found = place.found(said.root) if place else []
    # White space at its ends belongs to a passphrase.
    passphrase = whole_text_of(found[0]) if found else ""
    if not passphrase:
        advice = f"correct response.passphrase in the profile, or call the help desk; {_COMPARE}"
        raise _refused(Verdict.FATAL, "the certificate came without its passphrase", advice, said)
    return Secret(passphrase.encode())


# --- from octets to the element of the service -------------------------------------------------------------------------


def _service(
    contract: Contract, expected: str, reply: Reply, secrets: Iterable[str]
) -> tuple[Element, Mapping[str, bytes]]:
    """The element of the service in an answer, and the attachments beside it. Raises RefusedError."""
    octets, parts = _root_part(reply)
    try:
        root = parsed(octets)
    except MarkupError as error:
        raise _no_xml(reply, octets, error) from None
    body = next((root.find(f"{{{ns}}}Body") for ns in ENVELOPES.values() if root.tag == f"{{{ns}}}Envelope"), None)
    if body is None:
        raise _no_soap(reply, root)
    first = next(iter(body), None)
    if first is None:
        raise _of_status(reply) or _refused(Verdict.FATAL, "an empty SOAP message came", _COMPARE)
    for namespace in ENVELOPES.values():
        if first.tag == f"{{{namespace}}}Fault":
            fault = _fault(contract.codes, first, namespace, secrets)
            raise fault if fault.refusal.verdict in _OF_LOGIN else _login(contract, first) or fault
    if first.tag != expected:
        raise _login(contract, first) or _unexpected(first.tag, expected)
    return first, parts


def _root_part(reply: Reply) -> tuple[bytes, Mapping[str, bytes]]:
    """The message, and attachments by their Content-ID, where they came beside it."""
    if not is_of_parts(reply.content_type):
        return reply.body, {}
    try:
        return taken_apart(reply.content_type, reply.body)
    except PartsError:
        of_status = _of_status(reply)
        raise of_status or _refused(
            Verdict.FATAL, "a message of several parts came that cannot be taken apart", _COMPARE
        ) from None


def _included(found: Element | str) -> str:
    """The Content-ID of an attachment that stands for the content of an element; empty without one."""
    include = None if isinstance(found, str) else found.find(_INCLUDE)
    return "" if include is None else unquote(include.get("href", "").removeprefix("cid:"))


def _decoded(encoding: CertEncoding, found: Element | str, said: Said) -> bytes:
    included = _included(found)
    if included or encoding is CertEncoding.MTOM:
        if encoding is not CertEncoding.MTOM:
            advice = 'write response.encoding = "mtom" in the profile if FD-002 says so; the answer is kept for you'
            raise _refused(Verdict.FATAL, "the certificate came as an attachment", advice, said)
        content = said.parts.get(included, b"")
        if not content:
            raise _refused(Verdict.FATAL, "the attachment with the certificate is missing", _COMPARE, said)
        return content
    text = text_of(found)
    try:
        match encoding:
            case CertEncoding.BASE64:
                return b64decode(re.sub(r"\s", "", text), validate=True)
            case CertEncoding.HEX:
                return bytes.fromhex(text)
            case _:
                return text.encode("ascii")
    except (Base64Error, ValueError):
        advice = f"correct response.encoding in the profile; {_COMPARE}"
        raise _refused(Verdict.FATAL, f"the certificate is not written in {encoding}", advice, said) from None


# --- what is no answer of the service ----------------------------------------------------------------------------------


def _no_xml(reply: Reply, octets: bytes, error: MarkupError) -> RefusedError:
    if of_status := _of_status(reply):
        return of_status
    start = octets[:2000].lstrip().lower()
    if not start:
        return _refused(Verdict.RETRY, "an empty answer came")
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start:
        return _web_page(reply)
    if "DTD" in str(error) or "nested" in str(error):
        return _refused(Verdict.FATAL, f"what came is refused: {error}", f"call the help desk; {_COMPARE}")
    if isinstance(error, CutOffError):
        return _refused(Verdict.RETRY, "the answer was cut off", "if it stays so, call the help desk")
    return _refused(Verdict.FATAL, f"what came is no SOAP message: {error}{_typed(reply)}", _COMPARE)


def _no_soap(reply: Reply, root: Element) -> RefusedError:
    if of_status := _of_status(reply):
        return of_status
    if str(root.tag).rpartition("}")[2].lower() == "html":
        return _web_page(reply)
    return _refused(Verdict.FATAL, f"what came is XML, and no SOAP message{_typed(reply)}", _COMPARE)


def _web_page(reply: Reply) -> RefusedError:
    what = f"a web page came instead of an answer of the service{_typed(reply)}"
    advice = "compare the url in the profile with the one you were given; a proxy or a portal may stand between, too"
    return _refused(Verdict.FATAL, what, advice)


def _typed(reply: Reply) -> str:
    kind = shown(reply.content_type.partition(";")[0], 60)
    return f" (it is said to be {kind})" if kind else ""


def _unexpected(tag: str, expected: str) -> RefusedError:
    name, wanted = str(tag).rpartition("}")[2], expected.rpartition("}")[2]
    if name == wanted:
        namespace = shown(str(tag).partition("}")[0].strip("{"), 100)
        what = f"the answer is of another version of the interface: {namespace or 'no namespace'}"
        return _refused(Verdict.FATAL, what, f"correct [ns] in the profile; {_COMPARE}")
    return _refused(Verdict.FATAL, f"the answer is {shown(name, 60)} instead of {wanted}", _COMPARE)


def _fault(codes: Codes, fault: Element, namespace: str, secrets: Iterable[str]) -> RefusedError:
    """A SOAP fault, of either version: its codes are looked up like result codes, as ``soap:Name``, the closer one first."""
    code, value = f"{{{namespace}}}Code", f"{{{namespace}}}Value"
    closer = fault.findtext(f"{code}/{{{namespace}}}Subcode/{value}") or ""
    general = fault.findtext(f"{code}/{value}") or fault.findtext("faultcode") or ""
    reason = fault.findtext(f"{{{namespace}}}Reason/{{{namespace}}}Text") or fault.findtext("faultstring") or ""
    names = ["soap:" + _printable(each).rpartition(":")[2] for each in (closer, general) if each] or ["soap:"]
    # In SOAP 1.1 what is more special follows behind a dot.
    names += [names[-1].partition(".")[0]]
    name = next((each for each in names if codes.meaning(each).known), names[0])
    meaning = codes.meaning(name)
    told = _scrubbed(reason, secrets)
    refusal = Refusal(
        verdict=meaning.verdict,
        code=_scrubbed(name, secrets),
        text=f"the server answered with a SOAP fault{f': {told}' if told else ''}",
        advice=meaning.advice,
        after=meaning.after,
    )
    return RefusedError(refusal)


def _login(contract: Contract, element: Element) -> RefusedError | None:
    """What an answer that is not understood says of the login, wherever that stands: it must not be tried again.

    Nothing where a certificate came along: that is kept for a person.
    """
    if contract.places.cert.found(element):
        return None
    texts = (text for each in element.iter() for text in (each.text, each.tail, *each.attrib.values()) if text)
    words = (word[0] for text in texts for word in _WORD.finditer(text[:_MOST_LETTERS]))
    for word in islice((each for each in words if "_" in each and len(each) <= LONGEST_CODE), _MOST_WORDS):
        meaning = contract.codes.meaning(word)
        if meaning.known and meaning.verdict in _OF_LOGIN:
            text = f"in an answer that is not understood otherwise the server says: {meaning.text or 'the login is refused'}"
            return RefusedError(Refusal(verdict=meaning.verdict, code=word, text=text, advice=meaning.advice))
    return None


def _of_status(reply: Reply) -> RefusedError | None:
    """What an HTTP status without a message of the service says (RFC 9110 section 15); None for one of success."""
    status = reply.status
    if 200 <= status < 300:
        return None
    verdict, text, advice = _STATUSES.get(status) or _CLASSES.get(status // 100) or _CLASSES[4]
    refusal = Refusal(
        verdict=verdict,
        code=f"HTTP {status}",
        text=text,
        advice=advice,
        after=_retry_after(reply) if verdict is Verdict.RETRY else None,
    )
    return RefusedError(refusal)


def _retry_after(reply: Reply) -> timedelta | None:
    digits = reply.retry_after.strip()
    if not re.fullmatch("[0-9]{1,9}", digits):
        return timedelta(hours=12) if reply.status == 429 else None
    return min(timedelta(seconds=int(digits)), LONGEST_RETRY_AFTER)


_HELP_DESK = "the help desk of your national medicines verification organisation"
_BACK = (
    f"see 'oftp2d renew status'; if it has ended or was revoked, ask {_HELP_DESK} for a new TAN, then"
    " 'oftp2d renew run {name} --tan'"
)
_ADDRESS = "compare the url in the profile with FD-002: older versions of the interface are switched off"
_OURS = (
    Verdict.FATAL,
    "the server refuses our certificate: it is missing, expired, revoked, or of another user",
    _BACK,
)
_STATUSES: Final[Mapping[int, tuple[Verdict, str, str]]] = {
    401: (
        Verdict.AUTH_FAILED,
        "the server refuses the login",
        "log in to the portal once with the right password, then give it here with 'oftp2d renew secret {name} password'",
    ),
    400: (Verdict.FATAL, "the server refuses the request, or our certificate", f"{_ADDRESS}; {_BACK}"),
    403: _OURS,
    495: _OURS,
    496: _OURS,
    404: (Verdict.FATAL, "there is no such service at this address", _ADDRESS),
    405: (Verdict.FATAL, "there is no such service at this address", _ADDRESS),
    410: (Verdict.FATAL, "the service at this address is gone", _ADDRESS),
    406: (Verdict.FATAL, "the server takes no request of this form", "compare [soap] in the profile with FD-002"),
    415: (
        Verdict.FATAL,
        "the server does not take the media type",
        'compare [soap] content_type in the profile with FD-002; "text/xml" is often taken',
    ),
    408: (Verdict.RETRY, "the server waited too long for the request", ""),
    429: (Verdict.RETRY, "the server was asked too often", ""),
    500: (Verdict.RETRY, "the server has technical trouble", ""),
    502: (Verdict.RETRY, "the service behind the server does not answer", ""),
    503: (Verdict.RETRY, "the service is out of operation for now", ""),
    504: (Verdict.RETRY, "the service behind the server does not answer", ""),
}
_CLASSES: Final[Mapping[int, tuple[Verdict, str, str]]] = {
    1: (Verdict.FATAL, "the server answers with nothing that ends", _ADDRESS),
    3: (Verdict.FATAL, "the server sends us elsewhere, which is not followed with a login", _ADDRESS),
    4: (Verdict.FATAL, "the server refuses the request", _ADDRESS),
    5: (Verdict.RETRY, "the server has technical trouble", ""),
}


# --- texts of the source ------------------------------------------------------------------------------------------------


def _notifications(contract: Contract, root: Element, secrets: Iterable[str]) -> tuple[Notification, ...]:
    places = contract.places
    found = places.notifications.found(root) if places.notifications else []
    return tuple(
        _notification(contract, each, secrets) for each in found[:MOST_NOTIFICATIONS] if not isinstance(each, str)
    )


def _notification(contract: Contract, found: Element, secrets: Iterable[str]) -> Notification:
    places = contract.places
    code = _first(places.notification_code.found(found)) if places.notification_code else ""
    text = _scrubbed(_first(places.notification_text.found(found)) if places.notification_text else "", secrets)
    # "n days left", in whatever language: the only number there is.
    numbers = re.findall("[0-9]+", text)
    days = int(numbers[0]) if len(numbers) == 1 and len(numbers[0]) <= 4 else None
    return Notification(code=_scrubbed(code, secrets)[:LONGEST_CODE], text=text, days=days)


def _first(found: list[Element | str]) -> str:
    return text_of(found[0]) if found else ""


def _printable(code: str) -> str:
    return shown(code, LONGEST_CODE)


def _scrubbed(text: str, secrets: Iterable[str]) -> str:
    """A text on one line, without the secrets that the server repeats in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return shown(text)


def _refused(verdict: Verdict, text: str, advice: str = "", said: Said | None = None) -> RefusedError:
    refusal = Refusal(verdict=verdict, text=text, advice=advice)
    if said is not None:
        refusal = replace(refusal, code=said.code, transaction=said.transaction, notifications=said.notifications)
    return RefusedError(refusal)
