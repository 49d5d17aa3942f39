"""The configuration: ``oftp2d.toml`` in the station's home folder, read into frozen classes.

A reading names all faults at once, each with its path ("listeners[1].port") and a line of advice. Partners,
stations and certificates are not here: they live in the database and are changed with commands while the
station runs. Nothing secret belongs into this file.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

import attrs

from .errors import OperatorError
from .sections import Fault, FaultsError, Reader, document, section
from .settings import UnfitError, choice, flag, sha256, shown, text, web_address, whole

FILE_NAME = "oftp2d.toml"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a station is there to be called
LONGEST_SOCKET_PATH = 107
"""Octets in the path of a UNIX socket on Linux, without the closing zero."""


class Transport(StrEnum):
    """What carries a session: TLS, or plain TCP for closed networks."""

    TLS = "tls"
    TCP = "tcp"


class RevocationMode(StrEnum):
    """What is thought of a certificate whose revocation list was never read."""

    OFF = "off"
    """Lists are neither read nor looked at."""
    TOLERATE = "tolerate"
    """It counts until its list says otherwise; once its list was read, the list must stay young."""
    STRICT = "strict"
    """It does not count before its list was read."""


class Preference(StrEnum):
    """Which of several certificates that would do is used to sign, to encrypt and for TLS."""

    NEWEST = "newest"
    OLDEST = "oldest"


class TlsVersion(StrEnum):
    """A version of TLS."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class LogLevel(StrEnum):
    """How much is logged; each level includes those after it."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """The form of a log line."""

    TEXT = "text"
    JSON = "json"


def _usual_port(listener: Listener) -> int:
    return 6619 if listener.transport is Transport.TLS else 3305


@attrs.frozen(kw_only=True)
class Listener:
    """An address the station answers calls on. Repeat the section for each address."""

    transport: Transport = choice(
        Transport, Transport.TLS, 'What carries the calls: "tls", or "tcp" without any protection.'
    )
    host: str = text(255, EVERY_ADDRESS, "The own address to listen on; 0.0.0.0 is every one.")
    port: int = whole(
        0,
        65535,
        attrs.Factory(_usual_port, takes_self=True),
        "The port; 6619 for tls and 3305 for tcp unless told otherwise, 0 takes a free one.",
    )


@attrs.frozen(kw_only=True)
class Tls:
    """What is demanded of TLS connections, both ways."""

    minimum: TlsVersion = choice(
        TlsVersion, TlsVersion.V1_2, 'The oldest version accepted, "1.2" or "1.3". Many partners know no 1.3.'
    )


@attrs.frozen(kw_only=True)
class SessionTerms:
    """What the station offers in a session unless a partner's own settings say otherwise."""

    buffer_size: int = whole(
        128,
        99_999,
        65_535,
        "The exchange buffer offered (SSIDSDEB), in octets; the smaller side wins.",
    )
    credit: int = whole(
        1, 999, 999, "The buffers sent before the other side must answer (SSIDCRED). With 1 some systems hang."
    )
    inactivity_seconds: int = whole(
        1,
        3600,
        90,
        "A session in which nothing arrives for so long, and in which the partner takes nothing, is ended (ESID 09),"
        " in seconds. A slow line must carry one exchange buffer in half of it.",
    )
    close_seconds: int = whole(
        1, 600, 10, "The time a partner gets to close the connection once the session is over, in seconds."
    )
    turn_seconds: int = whole(
        0,
        3600,
        60,
        "So long a partner may send before it is asked for the turn (EFPA with CD), if something waits for it here.",
    )
    stop_seconds: int = whole(
        0, 3600, 60, "The time running sessions get to finish their file when the station stops, in seconds."
    )


@attrs.frozen(kw_only=True)
class Limits:
    """What the station bears, whoever calls."""

    max_file_octets: int = whole(
        1024,
        9_999_999_999_999 * 1024,
        100 * 1024**3,
        "The largest file, in octets (100 GiB).",
    )
    max_expansion: int = whole(
        1,
        100_000,
        200,
        "How many times its size a compressed file may have when it is decompressed; one that grows to less than 64 MiB is"
        " not measured. A file that goes beyond is refused (NERP 32), for it may be made to fill the disk.",
    )
    max_sessions: int = whole(1, 100_000, 200, "The most sessions at the same time.")
    max_sessions_per_peer_address: int = whole(1, 100_000, 10, "The most sessions at the same time from one address.")
    handshake_seconds: int = whole(1, 600, 30, "The time a caller has for TLS and to say who it is, in seconds.")
    bad_passwords: int = whole(
        1, 1000, 5, "After so many wrong codes or passwords an address is not answered any more, for a while."
    )
    bad_password_seconds: int = whole(
        1, 86_400, 900, "The period in which they are counted, and for which it is not answered, in seconds."
    )


@attrs.frozen(kw_only=True)
class Retry:
    """How the station goes on when a partner can't be reached or a transfer breaks off."""

    first_seconds: int = whole(1, 86_400, 30, "The first wait; it doubles each time, in seconds.")
    max_seconds: int = whole(1, 604_800, 3600, "The longest wait between two attempts, in seconds.")
    attempts: int = whole(
        1,
        10_000,
        100,
        "After so many answers that allow another try (SFNA, EFNA) a file is failed and waits for a person.",
    )
    total_seconds: int = whole(
        1,
        31_536_000,
        604_800,
        "After so long without success a file is failed and waits for a person, however often it was tried, in seconds"
        " (7 days). Files that wait for a partner to call are not counted, but for those forwarded from another partner,"
        " which are answered in the end: a forwarded file is also failed when it was sent and got no end response for so long.",
    )

    def __attrs_post_init__(self) -> None:
        if self.first_seconds > self.max_seconds:
            raise UnfitError(
                f"first_seconds ({self.first_seconds}) is above max_seconds ({self.max_seconds})",
                "make max_seconds the larger one",
            )


@attrs.frozen(kw_only=True)
class Database:
    """Where the ledger of transfers, receipts, partners and certificates is kept."""

    url: str | None = text(
        1000,
        None,
        "An SQLAlchemy address, without a password; unless given, the file ledger.sqlite.",
        secret=True,
    )


@attrs.frozen(kw_only=True)
class SpoolSettings:
    """Where the files are kept on their way."""

    path: str = text(4000, "spool", "A folder, seen from the home folder, on one file system.")
    free_octets_reserved: int = whole(
        0,
        2**62,
        1024**3,
        "Files are refused that would leave less free, in octets (1 GiB).",
    )
    keep_parts_hours: int = whole(
        1,
        8760,
        168,
        "What there is of a file whose transfer broke off is kept for so long, for the partner to go on, in hours.",
    )
    keep_refused_hours: int = whole(
        1,
        8760,
        168,
        "A secured file that could not be opened is kept as it came for so long, for analysis, in hours (7 days):"
        " 'oftp2d transfer raw'.",
    )


@attrs.frozen(kw_only=True)
class Logging:
    """What is written to the standard error output."""

    level: LogLevel = choice(LogLevel, LogLevel.INFO, 'How much: "debug", "info", "warn" or "error".')
    format: LogFormat = choice(LogFormat, LogFormat.TEXT, 'The form of a line: "text" or "json".')


@attrs.frozen(kw_only=True)
class Selection:
    """Which certificate is used when."""

    prefer: Preference = choice(
        Preference,
        Preference.NEWEST,
        'Where several certificates of a station would do to sign, to encrypt or for TLS: the "newest" by the beginning of its'
        ' validity, or the "oldest", so that a new one is used when the old one has ended.',
    )


@attrs.frozen(kw_only=True)
class Acx:
    """The automatic certificate exchange."""

    clock_tolerance_seconds: int = whole(
        0,
        86_400,
        300,
        "How far clocks may differ when dates of a certificate are judged, in seconds.",
    )
    answers_per_hour: int = whole(1, 1000, 4, "How often an hour a partner's request for our certificates is answered.")
    offer_successors: bool = flag(
        True,  # noqa: FBT003 - a default
        "Whether a certificate of ours that follows another is offered to all partners as soon as it is imported: true or"
        " false.",
    )
    remind_after_hours: int = whole(
        1,
        8760,
        72,
        "A certificate of ours that a partner has got and not answered is offered to it again after so long, in hours.",
    )
    reminders: int = whole(
        0, 20, 3, "How often it is offered again before the station gives up and tells you: 'oftp2d status'."
    )
    escalate_days: int = whole(
        0,
        365,
        14,
        "It tells you earlier where the certificate that the partner still knows ends within so many days.",
    )
    keep_refused_days: int = whole(
        1,
        3650,
        30,
        "A certificate that was refused is kept for so long, for 'oftp2d exchange show', in days; of each partner the newest 20"
        " at most.",
    )


_LIST = "https://www.odette.org/TSL/TSL_OFTP2.XML"


def _beside(name: str) -> object:
    """A file beside Odette's list; another list has none unless it is said where."""
    address = _LIST.replace("TSL_OFTP2.XML", name)
    return attrs.Factory(lambda settings: address if settings.url == _LIST else "", takes_self=True)


@attrs.frozen(kw_only=True)
class TrustListSettings:
    """Odette's trust list: the authorities in it are trusted like anchors of your own."""

    enabled: bool = flag(False, "Whether it is read and counts: true or false.")  # noqa: FBT003 - a default
    url: str = web_address(
        "https://www.odette.org/TSL/TSL_OFTP2.XML", "Where the list is. For tests the Odette has another."
    )
    stamp_url: str = web_address(
        _beside("TSL_OFTP2.UPD"),
        "Where a small file tells whether the list has changed; empty if there is none, as for another list than Odette's"
        " unless it is given: then the list is read each time.",
        optional=True,
    )
    signers_url: str = web_address(
        _beside("TSL_signing.P7B"),
        "Where the certificates are that sign the list, as PKCS#7. Looked at when no signer is pinned yet; empty for none,"
        " as for another list than Odette's unless it is given.",
        optional=True,
    )
    signer: str = sha256(
        "",
        "The SHA-256 of the certificate that must have signed the list. Empty: that of the first list that is read is"
        " pinned, see 'oftp2d trust list'.",
    )
    refresh_seconds: int = whole(1, 31_536_000, 86_400, "How often it is looked for a new list, in seconds (1 day).")
    retry_seconds: int = whole(1, 31_536_000, 3600, "How soon it is tried again after a failure, in seconds.")
    max_octets: int = whole(
        1024,
        1024**3,
        10 * 1024**2,
        "A list that is larger is not read, in octets (10 MiB). Real ones have some 100 KiB.",
    )


@attrs.frozen(kw_only=True)
class Revocation:
    """The revocation lists (CRLs) of certification authorities."""

    mode: RevocationMode = choice(
        RevocationMode,
        RevocationMode.TOLERATE,
        'What is thought of a certificate whose list could never be read: "tolerate" takes it, "strict" does not. With "off"'
        " no list is read at all, and a revoked certificate counts like any other.",
    )
    refresh_seconds: int = whole(
        1,
        31_536_000,
        86_400,
        "A list is read anew after so long, or when it says that there is a newer one, in seconds.",
    )
    retry_seconds: int = whole(
        1, 86_400, 900, "A list that could not be read is tried again after so long, in seconds."
    )
    max_age_seconds: int = whole(
        1,
        31_536_000,
        1_296_000,
        "Certificates of an authority whose list was read, and could not be renewed for so long, do not count until it can"
        " be, in seconds (15 days).",
    )
    max_octets: int = whole(1024, 2**30, 20 * 1024**2, "The largest list, in octets (20 MiB).")
    allow_local: bool = flag(
        False,  # noqa: FBT003 - a default
        "Whether lists are also read from this machine itself and its link (loopback, link-local): true or false. Partners'"
        " certificates say where their lists are, and must not lead the station to services that only it can reach.",
    )


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration. Paths are absolute once it is loaded."""

    home: Path = attrs.field(default=Path())
    listeners: tuple[Listener, ...] = attrs.field(factory=lambda: (Listener(),))
    tls: Tls = attrs.field(factory=Tls)
    session: SessionTerms = attrs.field(factory=SessionTerms)
    limits: Limits = attrs.field(factory=Limits)
    retry: Retry = attrs.field(factory=Retry)
    database: Database = attrs.field(factory=Database)
    spool: SpoolSettings = attrs.field(factory=SpoolSettings)
    logging: Logging = attrs.field(factory=Logging)
    selection: Selection = attrs.field(factory=Selection)
    acx: Acx = attrs.field(factory=Acx)
    revocation: Revocation = attrs.field(factory=Revocation)
    trust_list: TrustListSettings = attrs.field(factory=TrustListSettings)

    def __attrs_post_init__(self) -> None:
        taken: dict[tuple[str, int], int] = {}
        for index, listener in enumerate(self.listeners):
            first = taken.setdefault((listener.host, listener.port), index)
            if listener.port and first != index:
                raise UnfitError(
                    f"listeners[{index}] has the address of listeners[{first}]",
                    "give each its own host or port",
                )

    @property
    def socket_path(self) -> Path:
        """The UNIX socket of the administration interface."""
        return socket_path(self.home)

    @property
    def master_key_path(self) -> Path:
        """The file of the master key, unless the environment supplies the key."""
        return self.home / "master.key"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy address of the ledger."""
        return self.database.url or f"sqlite:///{self.home / 'ledger.sqlite'}"

    @property
    def spool_path(self) -> Path:
        """The folder of the spool."""
        return self.home / self.spool.path


class ConfigurationError(OperatorError):
    """The configuration can't be used. ``faults`` holds every fault found, at least one."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(f"{FILE_NAME} has {count}", f"correct it and run 'oftp2d check'{listed}")
        self.faults = faults


def home_folder() -> Path:
    """$OFTP2D_HOME, else the folder oftp2d below $XDG_STATE_HOME or ~/.local/state; absolute."""
    given = os.environ.get("OFTP2D_HOME")
    if given:
        return Path(given).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(state).expanduser() / "oftp2d").absolute()


def socket_path(home: Path) -> Path:
    """The UNIX socket of the administration interface of the station at home.

    Raises:
        OperatorError: the path is longer than the operating system allows for a socket.
    """
    path = home / "admin.sock"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise OperatorError(
            f"the path of the home folder is too long for a socket in it ({path})",
            f"set OFTP2D_HOME to a folder of at most {LONGEST_SOCKET_PATH - len('/admin.sock')} characters",
        )
    return path


def load(home: Path) -> Config:
    """Read the configuration of the station at home.

    Raises:
        OperatorError: there is no such file, or it can't be read.
        ConfigurationError: it has faults; all of them are in it.
    """
    path = home / FILE_NAME
    try:
        content = path.read_text("utf-8")
    except FileNotFoundError:
        raise OperatorError(
            f"there is no station in {home}", "make one with 'oftp2d init', or set OFTP2D_HOME to its folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} can't be read ({error})", "check its owner, mode and encoding (UTF-8)") from None
    return parse(content, home)


def parse(content: str, home: Path) -> Config:
    """The configuration out of the text of the file; raises ConfigurationError with all faults."""
    try:
        config = _reader.read(document(content), Config)
    except FaultsError as error:
        raise ConfigurationError(error.faults) from None
    return attrs.evolve(config, home=home.absolute())


def example(listeners: tuple[Listener, ...] = (Listener(),)) -> str:
    """The file that ``oftp2d init`` writes: the listeners given, all else as comments with its default."""
    parts = [
        f"# {FILE_NAME}: the configuration of an OFTP2 station. 'oftp2d check' names every mistake.\n",
        "# A setting behind '#' shows what holds without it.\n",
    ]
    parts += [section("[[listeners]]", listener, active=True) for listener in listeners]
    usual = Config()
    for field in attrs.fields(Config):
        value = getattr(usual, field.name)
        if attrs.has(type(value)):
            parts.append(section(f"[{field.name}]", value, active=False))
    return "\n".join(parts)


def _listeners(value: object, _kind: type) -> tuple[Listener, ...]:
    if not isinstance(value, list):
        raise UnfitError(f"{shown(value)} is not a list", "write [[listeners]], with two brackets, for each address")
    if not value:
        raise UnfitError("the list is empty", "leave it out, or write a section [[listeners]]")
    return tuple(_reader.converter.structure(value, list[Listener]))


_reader = Reader(omitted={Config: "home"}, lists={tuple[Listener, ...]: _listeners})
