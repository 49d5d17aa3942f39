"""Profiles: what a site knows of the interface of its NMVS, read from TOML and checked as a whole (nmvs.md 8.2).

Every profile is laid over the shipped one, table by table; lists and texts replace those below. What it is made into is in
:mod:`oftp2d.renewal.nmvs.contract`.

A profile that does not say ``verified = true`` is used only where nothing of it leads off this machine: every host in it, the
proxy included, is ``localhost`` or a loopback address in digits. No other name counts, whatever it may resolve to today; and
``localhost`` is loopback by RFC 6761 unless who administrates this machine has said otherwise.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from oftp2d.config import TlsVersion
from oftp2d.renewal.nmvs.codes import LONGEST_CODE, Group
from oftp2d.renewal.nmvs.markup import (
    SOAP,
    SoapVersion,
)
from oftp2d.renewal.timetable import Terms
from oftp2d.settings import LONGEST_URL, REQUIRED, UnfitError, choice, flag, setting, shown, text, texts, whole

T = TypeVar("T")

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
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
    min_interval_minutes: int = whole(
        0, 1440, REQUIRED, "Between the beginnings of two attempts, also of those by hand."
    )
    max_attempts_per_day: int = whole(
        1, 96, REQUIRED, "Attempts of a UTC day, also when the end is near, and with those by hand."
    )
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
        return Terms(
            lead_days=self.days.lead_days,
            alarm_days=self.days.alarm_days,
            critical_days=self.days.critical_days,
            store_days=self.days.store_days,
            valid_days=self.days.valid_days,
            least_minutes=self.limits.min_interval_minutes,
            most_attempts=self.limits.max_attempts_per_day,
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine whoever is asked: ``localhost``, or a loopback address in digits."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
