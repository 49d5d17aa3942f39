"""Profiles: what a site knows of the interface of its NMVS, read from TOML and checked as a whole (nmvs.md 8.2).

Every profile is laid over the shipped one, table by table; lists and texts replace those below. All faults are told at once, and
whatever has to be compiled (layouts, paths, patterns) is compiled when a profile is read, so that ``oftp2d check`` finds what is
wrong with it, and not the night in which it is used.

A profile that does not say ``verified = true`` is used only where nothing of it leads off this machine: every host in it, the
proxy included, is ``localhost`` or a loopback address in digits. No other name counts, whatever it may resolve to today; and
``localhost`` is loopback by RFC 6761 unless who administrates this machine has said otherwise.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from oftp2d.config import TlsVersion
from oftp2d.errors import OperatorError
from oftp2d.renewal.nmvs.codes import LONGEST_CODE, Codes, Group
from oftp2d.renewal.nmvs.markup import (
    ENVELOPES,
    SOAP,
    Layout,
    MarkupError,
    SoapVersion,
    enveloped,
    qualified,
)
from oftp2d.renewal.nmvs.markup import (
    Path as Place,
)
from oftp2d.renewal.timetable import Terms
from oftp2d.sections import Fault, FaultsError, Reader, document
from oftp2d.settings import LONGEST_URL, REQUIRED, UnfitError, choice, flag, setting, shown, text, texts, whole

T = TypeVar("T")

FOLDER: Final = Path("renewal", "profiles")
"""Where the profiles of a site are, below its home folder."""
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAX_OCTETS: Final = 1_048_576
"""Of a profile, and of a template."""

PLACEHOLDERS: Final = frozenset(
    {"client_login_id", "user_id", "sub_user_id", "password", "new_password", "tan", "auth_method", "client_trx_id"}
    | {"software_name", "software_supplier", "software_version", "language", "operation"}
)
"""What a layout may ask for."""


class TanMode(StrEnum):
    """What stands in the place of the TAN where the current certificate authenticates."""

    OMIT = "omit"
    EMPTY = "empty"
    FIXED = "fixed"
    TAN = "tan"
    """A TAN all the same: nothing is fetched before an operator gives one."""


class PassphraseFrom(StrEnum):
    """Where the passphrase of a new certificate is."""

    ANSWER = "answer"
    TAN = "tan"
    SECRET = "secret"  # noqa: S105 - a word, and no password
    NONE = "none"


class CertEncoding(StrEnum):
    """How a new certificate stands in an answer."""

    BASE64 = "base64"
    HEX = "hex"
    PEM = "pem"
    MTOM = "mtom"


# --- kinds of value that only profiles have --------------------------------------------------------------------------------


def _address(doc: str) -> Any:
    def check(value: object) -> str:
        if value == "":
            return ""
        if not isinstance(value, str) or not _is_https(value):
            advice = 'write one like "https://host.example:8458/path", with https and without a user in it'
            raise UnfitError(f"{shown(value)} is no address that is called", advice)
        return value

    return setting(check, REQUIRED, doc, values="an address of https, or empty")


def _is_https(value: str) -> bool:
    try:
        parts = urlsplit(value)
        fit = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return (
        fit
        and len(value) <= LONGEST_URL
        and value.isascii()
        and value.isprintable()
        and not set(value) & set(' "<>{}#')
    )


def _free(longest: int, doc: str, *, secret: bool = False) -> Any:
    """A text that may be empty, and may have several lines."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise UnfitError(f"{'the value' if secret else shown(value)} is not a text", "write it in quotes")
        if len(value) > longest:
            raise UnfitError(f"the text has {len(value)} characters", f"give at most {longest}")
        return value

    return setting(check, REQUIRED, doc, values=f"a text of at most {longest} characters", secret=secret)


def _fitting(pattern: str, doc: str, values: str) -> Any:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise UnfitError(f"{shown(value)} does not stand here", f"write {values}, in quotes")
        return value

    return setting(check, REQUIRED, doc, values=values)


def _words(one: Callable[[object], T], doc: str, values: str) -> Any:
    """A table from names, or patterns of codes, to values of one kind."""

    def check(value: object) -> dict[str, T]:
        if not isinstance(value, dict):
            raise UnfitError(f"{shown(value)} is not a section", "write its name in brackets, on a line of its own")
        if len(value) > 500:
            raise UnfitError(f"the section has {len(value)} lines", "give at most 500")
        return {name: one(each) for name, each in value.items()}

    return setting(check, REQUIRED, doc, values=values)


def _line(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 500:
        raise UnfitError(f"{shown(value)} is not a line of text", "write at most 500 characters on one line, in quotes")
    return value


def _number(lowest: int, highest: int) -> Callable[[object], int]:
    def one(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise UnfitError(f"{shown(value)} does not stand here", f"give a whole number from {lowest} to {highest}")
        return value

    return one


def _namespaces(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) and each.isprintable() for each in value.values()):
        raise UnfitError("it is not a section of texts", 'write lines like  types = "urn:..."')
    version = value.get("version", "")
    prefixes = {name: uri.replace("{version}", version) for name, uri in value.items() if name != "version"}
    for name, uri in prefixes.items():
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]{0,30}", name) or name.lower().startswith("xml") or name == SOAP:
            raise UnfitError(f"{shown(name)} can be no prefix", "use another word of letters, and not soap or xml")
        if not uri or uri.startswith("http://www.w3.org/2000/xmlns"):
            raise UnfitError(f"{name} has no namespace", 'write it in quotes, as in  types = "urn:..."')
    return prefixes


# --- the sections ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Renew:
    """Where a certificate is renewed with the one in use."""

    url: str = _address("The address of the service that asks for the current certificate.")


@attrs.frozen(kw_only=True)
class Tan:
    """Where a certificate is fetched with a TAN, without another certificate."""

    url: str = _address("The address of the service.")
    element: str = _free(200, "The element of the request; empty for that of [request].")
    operation: str = _free(200, "The operation; empty for that of [request].")


@attrs.frozen(kw_only=True)
class Soap:
    """The envelope."""

    version: SoapVersion = choice(SoapVersion, REQUIRED, '"1.2" or "1.1".')
    content_type: str = _fitting(
        r"[a-z]+/[a-z0-9.+-]+", "The media type of a request.", "a media type such as application/soap+xml"
    )
    action: str = _free(500, "The soapAction; {operation} stands for the operation. Empty for none.")

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch(r"[\x21-\x7e]*", self.action) or '"' in self.action:
            raise UnfitError(
                "the action holds blanks, quotes or letters that no header can have", "write it without them"
            )


@attrs.frozen(kw_only=True)
class Request:
    """What is sent to get a certificate."""

    element: str = _free(200, "The element in the body of the envelope, as prefix:Name.")
    operation: str = _free(200, "The operation.")
    tan_mode: TanMode = choice(TanMode, REQUIRED, "What stands for the TAN where the certificate authenticates.")
    tan: str = _free(255, 'The word for tan_mode = "fixed".', secret=True)
    header: str = _free(20_000, "The part that all requests have, as XML with placeholders.")
    body: str = _free(20_000, "What follows it.")
    template: str = _fitting(
        f"(?:{NAME})?",
        "A file beside the profile with a whole envelope, which wins over the rest.",
        "the name of a file",
    )
    client_trx_id_length: int = whole(16, 32, REQUIRED, "Characters of the number of a transaction.")
    longest: Mapping[str, int] = _words(_number(1, 4000), "The longest value of each placeholder.", "characters")


@attrs.frozen(kw_only=True)
class Response:
    """Where things are in an answer, by XPath from ``element`` on."""

    element: str = _free(200, "The element in the body of the envelope, as prefix:Name.")
    cert: str = text(1000, REQUIRED, "The certificate.")
    passphrase_from: PassphraseFrom = choice(PassphraseFrom, REQUIRED, "Where the passphrase is.")
    passphrase: str = _free(1000, 'The passphrase, for passphrase_from = "answer".')
    code: str = text(1000, REQUIRED, "The result code.")
    desc: str = _free(1000, "Its description; empty for none.")
    transaction: str = _free(1000, "The number of the transaction that the help desk asks for; empty for none.")
    notifications: str = _free(1000, "The notifications; empty for none.")
    notification_code: str = _free(1000, "From a notification on: its code.")
    notification_text: str = _free(1000, "From a notification on: what it says.")
    encoding: CertEncoding = choice(CertEncoding, REQUIRED, "How the certificate is written.")


def _codes() -> Any:
    return texts(LONGEST_CODE, 300, REQUIRED, "Codes, with * for anything.")


@attrs.frozen(kw_only=True)
class CodeLists:
    """What codes mean."""

    success: tuple[str, ...] = _codes()
    not_yet: tuple[str, ...] = _codes()
    already: tuple[str, ...] = _codes()
    auth: tuple[str, ...] = _codes()
    locked: tuple[str, ...] = _codes()
    retry: tuple[str, ...] = _codes()
    fatal: tuple[str, ...] = _codes()
    after: Mapping[str, int] = _words(_number(1, 43_200), "Minutes to wait at least.", "minutes by code")
    text: Mapping[str, str] = _words(_line, "What a code says.", "a sentence by code")
    advice: Mapping[str, str] = _words(_line, "What a person does next.", "a sentence by code")

    def __attrs_post_init__(self) -> None:
        taken: dict[str, Group] = {}
        for group, patterns in self.groups.items():
            for pattern in patterns:
                if taken.setdefault(pattern, group) is not group:
                    raise UnfitError(
                        f"{shown(pattern)} is in {taken[pattern]} and in {group}", "leave it in one of them"
                    )
        if not self.success:
            raise UnfitError("there is no code for success", "give success at least one")

    @property
    def groups(self) -> Mapping[Group, tuple[str, ...]]:
        """The lists by what they mean."""
        return {group: getattr(self, group.value) for group in Group}


@attrs.frozen(kw_only=True)
class Probe:
    """How a new certificate is tried: a call without a login."""

    url: str = _address("The address of the service; empty: nothing is tried.")
    element: str = _free(200, "The element of the request, as prefix:Name.")
    operation: str = _free(200, "The operation.")
    body: str = _free(20_000, "What is in it, as XML; no placeholder of a secret.")
    response: str = _free(200, "The element of the answer, as prefix:Name.")


@attrs.frozen(kw_only=True)
class Confirm:
    """A call behind the installation of a certificate, with that certificate."""

    enabled: bool = flag(REQUIRED, "Whether it is made: true or false.")
    url: str = _address("The address of the service.")
    element: str = _free(200, "The element of the request, as prefix:Name.")
    operation: str = _free(200, "The operation.")
    body: str = _free(20_000, "What follows the header, as XML with placeholders.")
    response: str = _free(200, "The element of the answer, as prefix:Name.")


@attrs.frozen(kw_only=True)
class PasswordChange:
    """How passwords are changed, for credential sets that want it."""

    url: str = _address("The address of the service.")
    element: str = _free(200, "The element of the request, as prefix:Name.")
    operation: str = _free(200, "The operation.")
    body: str = _free(20_000, "What follows the header, as XML with placeholders.")
    response: str = _free(200, "The element of the answer, as prefix:Name.")
    valid_days: int = whole(2, 3650, REQUIRED, "How long a password counts.")
    lead_days: int = whole(1, 365, REQUIRED, "It is changed so many days before its end.")
    length: int = whole(8, 60, REQUIRED, "Characters of a new one.")
    signs: str = _fitting(
        r"[!-/:-@\[-`{-~]{1,32}", "Special characters in a new one.", "1 to 32 special characters of ASCII"
    )

    def __attrs_post_init__(self) -> None:
        if self.lead_days >= self.valid_days:
            raise UnfitError("lead_days is not below valid_days", "make it the smaller one")


@attrs.frozen(kw_only=True)
class Limits:
    """What a call may cost."""

    connect_seconds: int = whole(1, 300, REQUIRED, "To connect.")
    read_seconds: int = whole(1, 3600, REQUIRED, "Without hearing anything.")
    total_seconds: int = whole(1, 3600, REQUIRED, "From the name of the host to the last octet.")
    max_octets: int = whole(1024, 16 * 1_048_576, REQUIRED, "Of an answer.")
    min_interval_minutes: int = whole(1, 1440, REQUIRED, "Between two attempts.")
    max_attempts_per_day: int = whole(1, 96, REQUIRED, "Attempts a day, also when the end is near.")
    max_auth_failures: int = whole(1, 1, REQUIRED, "After so many a credential set is blocked: 1.")


@attrs.frozen(kw_only=True)
class Tls:
    """What is demanded of the connection. There is no way to leave the verification of the server out."""

    minimum: TlsVersion = choice(TlsVersion, REQUIRED, 'The oldest version, "1.2" or "1.3".')
    ca_bundle: str = _free(1000, "A PEM file of authorities that count instead of those of the operating system.")
    proxy: str = _fitting(
        r"(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[1-9][0-9]{0,4})?",
        "A proxy that takes CONNECT.",
        '"host:port", or empty',
    )


@attrs.frozen(kw_only=True)
class Days:
    """The numbers of a renewal."""

    lead_days: int = whole(1, 3650, REQUIRED, "From here on there is a successor.")
    alarm_days: int = whole(1, 3650, REQUIRED, "By now there should be.")
    critical_days: int = whole(1, 3650, REQUIRED, "There must be.")
    store_days: int = whole(1, 3650, REQUIRED, "So long it is kept there.")
    valid_days: int = whole(1, 36_500, REQUIRED, "How long a certificate counts.")


@attrs.frozen(kw_only=True)
class Profile:
    """A profile as it stands in its file, over the shipped one."""

    verified: bool = flag(REQUIRED, "Whether somebody has compared it with FD-002: true or false.")
    description: str = _free(500, "What it is for, for people.")
    renew: Renew
    tan: Tan
    soap: Soap
    ns: Mapping[str, str] = setting(_namespaces, REQUIRED, "Namespaces by prefix.", values="texts")
    request: Request
    response: Response
    codes: CodeLists
    probe: Probe
    confirm: Confirm
    password: PasswordChange
    limits: Limits
    tls: Tls
    days: Days

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that it leads to, the proxy among them, without its port."""
        urls = (self.renew.url, self.tan.url, self.probe.url, self.confirm.url, self.password.url)
        named = [urlsplit(url).hostname or "" for url in urls if url]
        if self.tls.proxy:
            named.append(self.tls.proxy.rpartition(":")[0].strip("[]"))
        return tuple(dict.fromkeys(named))

    @property
    def terms(self) -> Terms:
        """The numbers of a renewal."""
        most = min(self.limits.max_attempts_per_day, max(1, 1440 // self.limits.min_interval_minutes))
        usual = Terms()
        return Terms(
            lead_days=self.days.lead_days,
            alarm_days=self.days.alarm_days,
            critical_days=self.days.critical_days,
            store_days=self.days.store_days,
            valid_days=self.days.valid_days,
            alarm_attempts=min(usual.alarm_attempts, most),
            critical_attempts=min(usual.critical_attempts, most),
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine whoever is asked: ``localhost``, or a loopback address in digits."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# --- what a profile is made into ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Message:
    """One kind of call: where, what, and what is expected of the answer."""

    url: str
    operation: str
    layout: Layout
    response: str
    """The element of the answer, as ``{namespace}name``."""
    longest: Mapping[str, int]
    content_type: str
    """The whole header."""
    action: str
    """The header SOAPAction; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are in an answer; None where nothing is looked for."""

    cert: Place
    passphrase: Place | None
    code: Place
    desc: Place | None
    transaction: Place | None
    notifications: Place | None
    notification_code: Place | None
    notification_text: Place | None


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A profile that was read without a fault, compiled."""

    name: str
    profile: Profile
    renew: Message
    tan: Message | None
    probe: Message | None
    confirm: Message | None
    password: Message | None
    places: Places

    @cached_property
    def codes(self) -> Codes:
        """The result codes."""
        lists = self.profile.codes
        return Codes(lists.groups, texts=lists.text, advice=lists.advice, after=lists.after)


class ProfileError(OperatorError):
    """A profile can't be used. ``faults`` holds every fault found, at least one."""

    def __init__(self, path: Path, faults: tuple[Fault, ...]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(f"{path} has {count}", f"correct it and run 'oftp2d check'{listed}")
        self.path = path
        self.faults = faults


class Profiles:
    """The profiles of a station, each read anew when its file has changed. Everything here blocks."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._read: dict[str, tuple[object, Contract]] = {}

    def contract(self, name: str) -> Contract:
        """A profile, ready to be used.

        Raises:
            ProfileError: it has faults, or it is not verified and leads off this machine.
            OperatorError: there is no such profile, or it can't be read.
        """
        path = self._folder / f"{name}.toml"
        stamp = _stamp(path)
        held = self._read.get(name)
        if held and held[0] == (stamp, _stamp(self._folder / held[1].profile.request.template)):
            return held[1]
        contract = self._fresh(name, path)
        self._read[name] = ((stamp, _stamp(self._folder / contract.profile.request.template)), contract)
        return contract

    def _fresh(self, name: str, path: Path) -> Contract:
        content = _content(
            path, f"write {path} as the documentation of NMVS shows, or correct 'profile' in the credential set"
        )
        try:
            profile = _reader.read(_laid_over(_shipped(), document(content)), Profile)
            template = profile.request.template
            whole_request = _content(self._folder / template, "correct request.template") if template else ""
            return _compiled(name, profile, whole_request)
        except FaultsError as error:
            raise ProfileError(path, error.faults) from None


def _compiled(name: str, profile: Profile, template: str) -> Contract:
    """Everything compiled; raises FaultsError with all that cannot be, and where the profile may not be used."""
    making = _Making(profile, template)
    request, tan, confirm, password, probe = (
        profile.request,
        profile.tan,
        profile.confirm,
        profile.password,
        profile.probe,
    )
    made = {
        "renew": making.message("request", profile.renew.url, request, profile.response.element),
        "tan": making.message(
            "tan",
            tan.url,
            attrs.evolve(request, element=tan.element or request.element, operation=tan.operation or request.operation),
            profile.response.element,
        )
        if tan.url
        else None,
        "confirm": making.message("confirm", confirm.url, confirm, confirm.response) if confirm.enabled else None,
        "password": making.message("password", password.url, password, password.response) if password.url else None,
        "probe": making.message("probe", probe.url, probe, probe.response) if probe.url else None,
    }
    places = making.places()
    making.faults += _beyond_form(profile, made["probe"])
    if making.faults:
        raise FaultsError(tuple(making.faults))
    assert made["renew"] is not None  # noqa: S101 - what could not be made is a fault
    return Contract(name=name, profile=profile, places=places, **made)  # type: ignore[arg-type]


def _beyond_form(profile: Profile, probe: Message | None) -> Iterator[Fault]:
    if not profile.renew.url:
        yield Fault(
            path="renew.url", what="there is none", advice="write the address that you were given for your site"
        )
    if profile.confirm.enabled and not profile.confirm.url:
        yield Fault(path="confirm.url", what="there is none", advice="write the address, or enabled = false")
    if profile.request.tan_mode is TanMode.FIXED and not profile.request.tan:
        yield Fault(
            path="request.tan",
            what="there is none",
            advice="write the word that stands for the TAN, or another tan_mode",
        )
    if profile.response.passphrase_from is PassphraseFrom.ANSWER and not profile.response.passphrase:
        yield Fault(path="response.passphrase", what="there is none", advice="write the XPath of the passphrase")
    if probe is not None and probe.layout.names & {"password", "new_password", "tan"}:
        advice = "leave it out: a ping needs no login, and one with a login could lock the account"
        yield Fault(path="probe.body", what="it asks for a secret", advice=advice)
    unknown = sorted(set(profile.request.longest) - PLACEHOLDERS)
    if unknown:
        yield Fault(path=f"request.longest.{unknown[0]}", what="there is no such placeholder", advice="leave it out")
    away = [host for host in profile.hosts if not is_loopback(host)]
    if away and not profile.verified:
        advice = (
            "compare every line of it, and of the shipped profile under it, with FD-002, try it in your sandbox, and write"
            " verified = true; until then only this machine itself is called (localhost, 127.0.0.1, ::1)"
        )
        yield Fault(path="verified", what=f"nobody has verified it, and it leads to {', '.join(away)}", advice=advice)


class _Making:
    """Compiles the parts of a profile, and gathers what cannot be."""

    def __init__(self, profile: Profile, template: str) -> None:
        self._profile = profile
        self._template = template
        self._paths = {SOAP: ENVELOPES[profile.soap.version], **profile.ns}
        self.faults: list[Fault] = []

    def message(
        self, where: str, url: str, said: Request | Probe | Confirm | PasswordChange, response: str
    ) -> Message | None:
        """One kind of call; None where it has a fault."""
        profile = self._profile
        layout = self._layout(where, said)
        expected = self._name("response.element" if isinstance(said, Request) else f"{where}.response", response)
        action = profile.soap.action.replace("{operation}", said.operation)
        parameter = f'; action="{action}"' if action and profile.soap.version is SoapVersion.V1_2 else ""
        if not re.fullmatch("[A-Za-z0-9_.:/-]*", said.operation):
            advice = "write letters, digits and _ . : / -"
            self.faults.append(Fault(path=f"{where}.operation", what=f"{shown(said.operation)} is none", advice=advice))
        if layout is None or expected is None:
            return None
        return Message(
            url=url,
            operation=said.operation,
            layout=layout,
            response=expected,
            longest=profile.request.longest,
            content_type=f"{profile.soap.content_type}; charset=utf-8{parameter}",
            action=f'"{action}"' if profile.soap.version is SoapVersion.V1_1 else "",
        )

    def places(self) -> Places:
        """Where things are."""
        return Places(**{field: self._place(field) for field in Places.__dataclass_fields__})  # type: ignore[arg-type]

    def _layout(self, where: str, said: Request | Probe | Confirm | PasswordChange) -> Layout | None:
        path = where
        try:
            if isinstance(said, Request) and self._template:
                path = "request.template"
                return Layout(self._template, PLACEHOLDERS)
            path = f"{where}.element"
            qualified(said.element, self._profile.ns)
            path = f"{where}.body" if isinstance(said, Probe) else f"{where}.body, or request.header"
            header = "" if isinstance(said, Probe) else self._profile.request.header
            content = enveloped(self._profile.soap.version, self._profile.ns, said.element, header + said.body)
            return Layout(content, PLACEHOLDERS)
        except MarkupError as error:
            self._fault(path, error)
            return None

    def _name(self, path: str, name: str) -> str | None:
        try:
            return qualified(name, self._profile.ns)
        except MarkupError as error:
            self._fault(path, error)
            return None

    def _place(self, field: str) -> Place | None:
        expression = getattr(self._profile.response, field)
        try:
            return Place(expression, self._paths) if expression else None
        except MarkupError as error:
            self._fault(f"response.{field}", error)
            return None

    def _fault(self, path: str, error: MarkupError) -> None:
        fault = Fault(path=path, what=str(error), advice="compare it with the shipped profile and with FD-002")
        if fault not in self.faults:
            self.faults.append(fault)


# --- files -----------------------------------------------------------------------------------------------------------------


def _shipped() -> dict[str, Any]:
    return document(shipped())


def shipped() -> str:
    """The text of the shipped profile."""
    return (files("oftp2d.renewal.nmvs") / "profile.toml").read_text("utf-8")


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _content(path: Path, advice: str) -> str:
    try:
        if not path.is_file():
            raise OperatorError(f"there is no file {path}", advice)
        if path.stat().st_size > MAX_OCTETS:
            raise OperatorError(f"{path} has more than {MAX_OCTETS} octets", "it is no profile: " + advice)
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} can't be read ({error})", "check its owner, mode and encoding (UTF-8)") from None


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


_reader = Reader()
