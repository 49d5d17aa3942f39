"""A contract: a profile that was read without a fault, with its layouts, paths and codes compiled.

All faults are told at once, and whatever has to be compiled is compiled when a profile is read, so that ``oftp2d check``
finds what is wrong with it, and not the night in which it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import attrs

from oftp2d.errors import OperatorError
from oftp2d.renewal.nmvs.codes import Codes
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
from oftp2d.renewal.nmvs.profile import (
    PLACEHOLDERS,
    Confirm,
    PassphraseFrom,
    PasswordChange,
    Probe,
    Profile,
    Request,
    TanMode,
    is_loopback,
)
from oftp2d.sections import Fault, FaultsError, Reader, document
from oftp2d.settings import shown

FOLDER: Final = Path("renewal", "profiles")
"""Where the profiles of a site are, below its home folder."""
MAX_OCTETS: Final = 1_048_576
"""Of a profile, and of a template."""


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
