"""What a definition of a credential set says: the sections of a file below ``$OFTP2D_HOME/renewal``, and what is made of them.

How files are found and read is :mod:`oftp2d.renewal.sets`. The texts beside the fields are what people read in
``oftp2d renew example`` and in the reference.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs

from oftp2.certs.usages import Usage
from oftp2d.renewal.rules import Demands, Identity
from oftp2d.renewal.timetable import Terms
from oftp2d.settings import (
    LONGEST_PATH,
    REQUIRED,
    UnfitError,
    choice,
    choices,
    each_matching,
    expression,
    file_path,
    flag,
    matching,
    shown,
    text,
    texts,
    whole,
)

NAME: Final = "[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?"
"""The names of credential sets and of plugins."""
STATION: Final = "[A-Z0-9 ]{1,25}"

_NAMES: Final = (
    "1 to 64 of the small letters a to z, digits, dots and hyphens, the first and the last a letter or digit"
)


class Form(StrEnum):
    """The files of an export."""

    P12 = "p12"
    """NAME.p12, with the chain, and NAME.passphrase, the passphrase on one line."""
    PEM = "pem"
    """NAME.crt, with the chain behind the certificate, and NAME.key, without a passphrase."""


@attrs.frozen(kw_only=True)
class General:
    """One credential set: what a site holds at one source."""

    name: str = matching(
        NAME,
        REQUIRED,
        "What the set is called, in commands, logs and the audit trail; no other set of the station has this name.",
        values=_NAMES,
        example="pharmacy-1",
    )
    plugin: str = matching(
        NAME, REQUIRED, "The plugin that knows the source: 'oftp2d renew plugins' lists them.", values=_NAMES
    )
    contact: str = text(
        255,
        "",
        "Who is to be told when a person must do something; shown beside each warning.",
        example="edi@company.example",
    )
    auto_renew: bool = flag(
        True,  # noqa: FBT003 - a default
        "Whether the station asks the source by itself when it is time: true or false. With false it warns all the same, and"
        " 'oftp2d renew run' asks.",
    )
    auto_activate: bool = flag(
        True,  # noqa: FBT003 - a default
        "Whether a new credential in which nothing is wrong is used by itself: true or false. With false it waits for"
        " 'oftp2d renew activate'.",
    )


@attrs.frozen(kw_only=True)
class TermsSection:
    """When the source is asked, in days before the credential ends. What is left out is as the plugin has it."""

    lead_days: int | None = whole(1, 3650, None, "From here on the source is asked, once a day.")
    alarm_days: int | None = whole(
        1, 3650, None, "From here on the lack of a successor is a warning, and it is asked more often."
    )
    critical_days: int | None = whole(1, 3650, None, "From here on it is an alarm, and it is asked still more often.")
    store_days: int | None = whole(
        1, 3650, None, "So long the source keeps a successor for you, counted from lead_days on."
    )
    valid_days: int | None = whole(1, 36_500, None, "How long a credential of this source is usually valid.")
    spread_hours: int | None = whole(
        0, 720, None, "Over so many hours the first attempts of sets are spread whose credentials end at once."
    )
    alarm_attempts: int | None = whole(1, 24, None, "Attempts a day from alarm_days on; before it there is one.")
    critical_attempts: int | None = whole(1, 96, None, "Attempts a day from critical_days on.")


@attrs.frozen(kw_only=True)
class DemandsSection:
    """What a new credential must be before it is used. What is left out is as the plugin has it."""

    identity: Identity | None = choice(
        Identity,
        None,
        'What is demanded of its subject: "equal" to that of the one in use, a match of "pattern", or "ignore" for nothing.',
    )
    pattern: str = expression(
        500,
        "",
        "For identity = \"pattern\": a regular expression that the whole subject must match, as 'oftp2d cert show' writes it.",
        example="CN=pharmacy-1,.*",
    )
    extended_usages: tuple[str, ...] | None = each_matching(
        r"[0-2](\.(0|[1-9][0-9]{0,18})){1,30}",
        20,
        None,
        "Extended key usages that it must have, as dotted identifiers; clientAuth is 1.3.6.1.5.5.7.3.2. [] for none.",
        values='a dotted identifier like "1.3.6.1.5.5.7.3.2"',
        example=("1.3.6.1.5.5.7.3.2",),
    )
    chain: bool | None = flag(None, "Whether it must come with all authorities above it up to the root: true or false.")


@attrs.frozen(kw_only=True)
class Store:
    """The certificate store of this station is told: a new credential signs, encrypts and calls, and is offered to partners.

    Only RSA keys can be used by OFTP2: another one is not activated.
    """

    stations: tuple[str, ...] = each_matching(
        STATION,
        100,
        (),
        "The Odette IDs of those of your stations whose certificate it becomes, as 'oftp2d station list' writes them. Left out:"
        " the station whose Odette ID is the serialNumber of the subject; otherwise every station of yours uses it.",
        values='an Odette ID like "O0013000001COMPANY"',
        example=("O0013000001COMPANY",),
    )
    alias: str = text(
        64,
        "",
        "What it is called in 'oftp2d cert list'; the day on which it begins to be valid follows the name. Left out: the name"
        " of the set.",
        example="pharmacy-1",
    )
    usages: frozenset[Usage] = choices(
        Usage,
        frozenset(Usage),
        "What it is used for, of all that its key usage allows: a list of words.",
    )


@attrs.frozen(kw_only=True)
class Export:
    """The credential is written into files for other programs of this machine, that only the station's user can read.

    In the folder are the last two generations, a folder each, and the link "current", which leads to the newest and is
    switched over when all of that is on disk. Programs open FOLDER/current/NAME.p12 or whatever they need. One that reads both
    files follows the link once and opens both behind it ('realpath FOLDER/current'), so that they belong together.
    """

    folder: Path = file_path(
        REQUIRED,
        "The folder, made where it is missing: absolute, or below the home folder of the station.",
        example="exported/pharmacy-1",
    )
    form: Form = choice(
        Form,
        Form.P12,
        '"p12" for NAME.p12 (PKCS#12 with the chain) and NAME.passphrase; "pem" for NAME.crt (the certificate, and its chain'
        " behind it) and NAME.key (without a passphrase).",
    )
    name: str = matching(
        r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}",
        "credential",
        "NAME, of both files.",
        values="1 to 64 letters, digits, dots, hyphens and underscores, no dot first",
    )


@attrs.frozen(kw_only=True)
class Hook:
    """A program of yours is run when another credential is used, behind the certificate store and the export.

    It runs as the user of the station, in its home folder, with nothing on its standard input, and in its environment PATH,
    HOME, LANG and these alone: OFTP2D_SET (the name of the set), OFTP2D_EVENT ("activated" or "rolled back"),
    OFTP2D_FINGERPRINT (SHA-256, hexadecimal), OFTP2D_SERIAL (hexadecimal), OFTP2D_SUBJECT, OFTP2D_VALID_FROM and
    OFTP2D_VALID_UNTIL (like 2027-01-31T12:00:00Z), OFTP2D_FORMER_FINGERPRINT (of the credential before, or empty), and where
    the set has an export OFTP2D_EXPORT (FOLDER/current). Exit code 0 says that all is well; with any other, and when it is
    killed, it is run again later. It may be run again for the same credential, such as after a crash.
    """

    command: tuple[str, ...] = texts(
        LONGEST_PATH,
        50,
        REQUIRED,
        "The program with its arguments; the first is an absolute path. No shell reads it: write"
        ' ["/bin/sh", "-c", "..."] if you want one. Put no secret here.',
        fewest=1,
        example=("/usr/local/sbin/credential-changed", "pharmacy-1"),
    )
    seconds: int = whole(1, 3600, 60, "After so long the program is killed with all that it has started, in seconds.")

    def __attrs_post_init__(self) -> None:
        absolute_program(self.command)


def absolute_program(command: tuple[str, ...]) -> None:
    """Raises UnfitError where the program of a command is not given by its whole path."""
    if not Path(command[0]).is_absolute():
        raise UnfitError(f"{shown(command[0])} is no absolute path", 'write the whole path, like "/usr/bin/env"')


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSet:
    """A credential set, as its file defines it: read, checked, and with what the plugin has beside it."""

    name: str
    plugin: str
    options: Any = field(repr=False)
    """An instance of the plugin's ``options``."""
    contact: str = ""
    auto_renew: bool = True
    auto_activate: bool = True
    terms: Terms = Terms()
    demands: Demands = Demands()
    store: Store | None = None
    export: Export | None = None
    hook: Hook | None = None
    file: str = ""
    """Where it is defined, below the folder of definitions."""

    @property
    def consumers(self) -> tuple[str, ...]:
        """Who is told of an activation, in this order."""
        told = {"store": self.store, "export": self.export, "hook": self.hook}
        return tuple(name for name, section in told.items() if section is not None)
