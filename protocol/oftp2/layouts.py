"""How each command is laid out in its Exchange Buffer: one construct Struct per command and level.

Level 5 is RFC 5024 section 5.3. Levels 1 and 2 are both RFC 2204 section 5.3: it describes revision 1.3 and yet calls it
level 1. Level 4, revision 1.4, has no RFC: what RFC 5024 section 1.2 counts as changes of 1.4 and of 2.0 says what it was.
From 1.3 it has the numbers of 7, 9 and 12 digits and nothing behind them; its own are the date with century and the time
with counter, taken from the reserved octets before them (in RFC 5024 they still stand where they then stood), NERP as far
as its reason, and reason 14. Texts, hashes, signatures, file security and secure authentication came with 2.0.

One dataclass serves all levels. A field that a layout lacks is read as what it means that nothing is said: no security, no
text, no signature, the stored size as original size, 0000 as counter. What a layout has no room for is refused when it is
written, but for what only tells people something (texts, the description) and what RFC 2204 itself does without: the
original size, the century, the counter, and the finer reasons, which become 99.

The command octet itself is not part of a layout; ``codec`` reads it to find the layout. Field names are the attributes of
the command's dataclass, labels the RFC's names. Data Exchange Buffers have no layout: ``buffers`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from construct import Construct, Struct

from oftp2 import commands as c
from oftp2.fields import (
    Part,
    absent,
    binary,
    carriage_return,
    choice,
    closing_text,
    code,
    digits,
    dropped,
    indicator,
    inner_text,
    literal,
    name,
    number,
    omissible,
    reserved,
    same_as,
    secret_octets,
    short_date,
    short_time,
    text,
)
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import FileFormat, Level, Mode, SecurityLevel

COMMAND_OCTETS: Final[Mapping[int, type[c.Command]]] = MappingProxyType(
    {
        ord("I"): c.Ssrm,
        ord("X"): c.Ssid,
        ord("H"): c.Sfid,
        ord("2"): c.Sfpa,
        ord("3"): c.Sfna,
        ord("D"): c.Data,
        ord("C"): c.Cdt,
        ord("T"): c.Efid,
        ord("4"): c.Efpa,
        ord("5"): c.Efna,
        ord("F"): c.Esid,
        ord("R"): c.Cd,
        ord("E"): c.Eerp,
        ord("N"): c.Nerp,
        ord("P"): c.Rtr,
        ord("J"): c.Secd,
        ord("A"): c.Auch,
        ord("S"): c.Aurp,
    }
)
"""The first octet of an Exchange Buffer, and the command it introduces."""


Fields = tuple[Construct, ...]
Stamp = Callable[[str], Fields]
Layouts = Mapping[type[c.Command], Construct]


def _long_stamp(prefix: str) -> Fields:
    return ("date" / digits(f"{prefix}DATE", 8), "time" / digits(f"{prefix}TIME", 10))


def _short_stamp(prefix: str) -> Fields:
    return ("date" / short_date(f"{prefix}DATE"), "time" / short_time(f"{prefix}TIME"))


def _file_identity(prefix: str, reserved_size: int, stamp: Stamp = _long_stamp) -> Fields:
    """The head that SFID, EERP and NERP share."""
    return ("dataset" / name(f"{prefix}DSN", 26), "reserved1" / reserved(reserved_size), *stamp(prefix))


def _stations(prefix: str) -> Fields:
    return ("destination" / name(f"{prefix}DEST", 25), "originator" / name(f"{prefix}ORIG", 25))


def _trailer(prefix: str) -> Fields:
    """Hash and signature of an end response; real systems leave the length fields out when both are empty."""
    return ("hash" / omissible(binary(f"{prefix}HSH")), "signature" / omissible(binary(f"{prefix}SIG")))


def _no_trailer(prefix: str) -> Fields:
    return ("hash" / absent(f"{prefix}HSH", means=b""), "signature" / absent(f"{prefix}SIG", means=b""))


def _ssid(*authentication: Construct) -> Construct:
    """SSID differs by what stands in the five octets behind SSIDCRED."""
    return Struct(
        "level" / number("SSIDLEV", 1),
        "code" / name("SSIDCODE", 25),
        "password" / name("SSIDPSWD", 8, secret=True),
        "buffer_size" / number("SSIDSDEB", 5, beside_secret=True),
        "mode" / choice("SSIDSR", Mode),
        "compression" / indicator("SSIDCMPR"),
        "restart" / indicator("SSIDREST"),
        "special_logic" / indicator("SSIDSPEC"),
        "credit" / number("SSIDCRED", 3, beside_secret=True),
        *authentication,
        "user" / name("SSIDUSER", 8),
        "cr" / carriage_return("SSIDCR"),
    )


def _sfid(identity: Fields, *rest: Construct) -> Construct:
    return Struct(
        *identity,
        "user" / name("SFIDUSER", 8),
        *_stations("SFID"),
        "format" / choice("SFIDFMT", FileFormat),
        "record_length" / number("SFIDLRECL", 5),
        *rest,
    )


def _eerp(identity: Fields, trailer: Fields) -> Construct:
    return Struct(*identity, "user" / name("EERPUSER", 8), *_stations("EERP"), *trailer)


def _nerp(*rest: Construct) -> Construct:
    return Struct(
        *_file_identity("NERP", 6),
        *_stations("NERP"),
        "creator" / name("NERPCREA", 25),
        *rest,
    )


_AT_EVERY_LEVEL: Final[Layouts] = {
    c.Ssrm: Struct(
        "message" / literal("SSRMMSG", b"ODETTE FTP READY "),
        "cr" / carriage_return("SSRMCR"),
    ),
    c.Cdt: Struct("reserved1" / reserved(2)),
    c.Efpa: Struct("change_direction" / indicator("EFPACD")),
    c.Cd: Struct(),
    c.Rtr: Struct(),
}

_ENDS_OF_1 = frozenset(EndSessionReason) - {
    EndSessionReason.INVALID_CHALLENGE_RESPONSE,
    EndSessionReason.AUTHENTICATION_INCOMPATIBLE,
}
_ANSWERS_OF_1_4 = frozenset(reason for reason in AnswerReason if reason <= AnswerReason.DIRECTION_REFUSED)
_ANSWERS_OF_1_3 = _ANSWERS_OF_1_4 - {AnswerReason.DIRECTION_REFUSED}
_RESPONSES_OF_1_4 = frozenset(
    reason
    for reason in NegativeResponseReason
    if not NegativeResponseReason.CIPHER_SUITE_NOT_SUPPORTED <= reason <= NegativeResponseReason.DECRYPTION_FAILED
)


def _revision_1(stamp: Stamp, reserved_size: int, answers: frozenset[AnswerReason]) -> Layouts:
    """What the revisions 1.2, 1.3 and 1.4 have in common: they differ in the stamp of a file alone."""
    return {
        **_AT_EVERY_LEVEL,
        c.Ssid: _ssid("authentication" / absent("SSIDAUTH", means=False), "reserved1" / reserved(5)),
        c.Sfid: _sfid(
            _file_identity("SFID", reserved_size, stamp),
            "size" / number("SFIDFSIZ", 7),
            "original_size" / same_as("size"),
            "restart" / number("SFIDREST", 9),
            "security" / absent("SFIDSEC", means=SecurityLevel.NONE),
            "cipher" / absent("SFIDCIPH", means=0),
            "compression" / absent("SFIDCOMP", means=0),
            "envelope" / absent("SFIDENV", means=0),
            "signed_response" / absent("SFIDSIGN", means=False),
            "description" / dropped(),
        ),
        c.Sfpa: Struct("restart" / number("SFPAACNT", 9)),
        c.Sfna: Struct(
            "reason" / code("SFNAREAS", 2, AnswerReason, answers),
            "retry" / indicator("SFNARRTR"),
            "text" / dropped(),
        ),
        c.Efid: Struct("records" / number("EFIDRCNT", 9), "octets" / number("EFIDUCNT", 12)),
        c.Efna: Struct("reason" / code("EFNAREAS", 2, AnswerReason, answers), "text" / dropped()),
        c.Esid: Struct(
            "reason" / code("ESIDREAS", 2, EndSessionReason, _ENDS_OF_1),
            "text" / closing_text("ESIDREAST", short=True),
        ),
        c.Eerp: _eerp(_file_identity("EERP", reserved_size, stamp), _no_trailer("EERP")),
    }


_REVISION_1_3: Final = _revision_1(_short_stamp, 9, _ANSWERS_OF_1_3)

_REVISION_1_4: Final[Layouts] = {
    **_revision_1(_long_stamp, 3, _ANSWERS_OF_1_4),
    c.Nerp: _nerp(
        "reason" / code("NERPREAS", 2, NegativeResponseReason, _RESPONSES_OF_1_4),
        "text" / dropped(),
        *_no_trailer("NERP"),
    ),
}

_REVISION_2_0: Final[Layouts] = {
    **_AT_EVERY_LEVEL,
    c.Ssid: _ssid("authentication" / indicator("SSIDAUTH"), "reserved1" / reserved(4)),
    c.Sfid: _sfid(
        _file_identity("SFID", 3),
        "size" / number("SFIDFSIZ", 13),
        "original_size" / number("SFIDOSIZ", 13),
        "restart" / number("SFIDREST", 17),
        "security" / code("SFIDSEC", 2, SecurityLevel),
        "cipher" / number("SFIDCIPH", 2),
        "compression" / number("SFIDCOMP", 1),
        "envelope" / number("SFIDENV", 1),
        "signed_response" / indicator("SFIDSIGN"),
        "description" / text("SFIDDESC"),
    ),
    c.Sfpa: Struct("restart" / number("SFPAACNT", 17)),
    c.Sfna: Struct(
        "reason" / code("SFNAREAS", 2, AnswerReason),
        "retry" / indicator("SFNARRTR"),
        "text" / text("SFNAREAST"),
    ),
    c.Efid: Struct("records" / number("EFIDRCNT", 17), "octets" / number("EFIDUCNT", 17)),
    c.Efna: Struct("reason" / code("EFNAREAS", 2, AnswerReason), "text" / text("EFNAREAST")),
    c.Esid: Struct("reason" / code("ESIDREAS", 2, EndSessionReason), "text" / closing_text("ESIDREAST")),
    c.Eerp: _eerp(_file_identity("EERP", 3), _trailer("EERP")),
    c.Nerp: _nerp(
        "reason" / code("NERPREAS", 2, NegativeResponseReason),
        "text" / inner_text("NERPREAST"),
        *_trailer("NERP"),
    ),
    c.Secd: Struct(),
    c.Auch: Struct("challenge" / binary("AUCHCHAL", secret=True)),
    c.Aurp: Struct("response" / secret_octets("AURPRSP", 20)),
}

LAYOUTS: Final[Mapping[Level, Layouts]] = MappingProxyType(
    {
        Level.REVISION_1_2: MappingProxyType(_REVISION_1_3),
        Level.REVISION_1_3: MappingProxyType(_REVISION_1_3),
        Level.REVISION_1_4: MappingProxyType(_REVISION_1_4),
        Level.REVISION_2_0: MappingProxyType(_REVISION_2_0),
    }
)
"""What each level can say; a command that is missing does not exist there."""


def parts(kind: type[c.Command], level: Level) -> tuple[Part, ...]:
    """The fields of a command as they lie in its Exchange Buffer, the command octet first.

    Of a command that is not there at ``level``: those of the latest level.
    """
    prefix = kind.__name__.upper()
    found = [Part(label=f"{prefix}CMD", shape="X", size=1)]
    if kind is c.Data:
        return (*found, Part(label="DATABUF", shape="U", size=None, secret=True))
    layout = LAYOUTS[level].get(kind) or LAYOUTS[max(LAYOUTS)][kind]
    for named in layout.subcons:
        found += [part if part.label else replace(part, label=f"{prefix}RSV1") for part in named.subcon.parts]
    return tuple(found)
