"""How each command is laid out in its Exchange Buffer: one construct Struct per command and level (RFC 5024 section 5.3).

The command octet itself is not part of a layout; ``codec`` reads it to find the layout. Field names are the attributes of
the command's dataclass, labels the RFC's names. Data Exchange Buffers have no layout: ``buffers`` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from construct import Construct, Struct

from oftp2 import commands as c
from oftp2.fields import (
    Part,
    binary,
    carriage_return,
    choice,
    closing_text,
    code,
    digits,
    indicator,
    literal,
    name,
    number,
    omissible,
    reserved,
    secret_octets,
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


def _file_identity(prefix: str, reserved_size: int) -> tuple[Construct, ...]:
    """The head that SFID, EERP and NERP share."""
    return (
        "dataset" / name(f"{prefix}DSN", 26),
        "reserved1" / reserved(reserved_size),
        "date" / digits(f"{prefix}DATE", 8),
        "time" / digits(f"{prefix}TIME", 10),
    )


def _stations(prefix: str) -> tuple[Construct, ...]:
    return ("destination" / name(f"{prefix}DEST", 25), "originator" / name(f"{prefix}ORIG", 25))


def _trailer(prefix: str) -> tuple[Construct, ...]:
    """Hash and signature of an end response; real systems leave the length fields out when both are empty."""
    return ("hash" / omissible(binary(f"{prefix}HSH")), "signature" / omissible(binary(f"{prefix}SIG")))


_REVISION_2_0: Mapping[type[c.Command], Construct] = {
    c.Ssrm: Struct(
        "message" / literal("SSRMMSG", b"ODETTE FTP READY "),
        "cr" / carriage_return("SSRMCR"),
    ),
    c.Ssid: Struct(
        "level" / number("SSIDLEV", 1),
        "code" / name("SSIDCODE", 25),
        "password" / name("SSIDPSWD", 8, secret=True),
        "buffer_size" / number("SSIDSDEB", 5, beside_secret=True),
        "mode" / choice("SSIDSR", Mode),
        "compression" / indicator("SSIDCMPR"),
        "restart" / indicator("SSIDREST"),
        "special_logic" / indicator("SSIDSPEC"),
        "credit" / number("SSIDCRED", 3, beside_secret=True),
        "authentication" / indicator("SSIDAUTH"),
        "reserved1" / reserved(4),
        "user" / name("SSIDUSER", 8),
        "cr" / carriage_return("SSIDCR"),
    ),
    c.Sfid: Struct(
        *_file_identity("SFID", 3),
        "user" / name("SFIDUSER", 8),
        *_stations("SFID"),
        "format" / choice("SFIDFMT", FileFormat),
        "record_length" / number("SFIDLRECL", 5),
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
    c.Cdt: Struct("reserved1" / reserved(2)),
    c.Efid: Struct("records" / number("EFIDRCNT", 17), "octets" / number("EFIDUCNT", 17)),
    c.Efpa: Struct("change_direction" / indicator("EFPACD")),
    c.Efna: Struct("reason" / code("EFNAREAS", 2, AnswerReason), "text" / text("EFNAREAST")),
    c.Esid: Struct("reason" / code("ESIDREAS", 2, EndSessionReason), "text" / closing_text("ESIDREAST")),
    c.Cd: Struct(),
    c.Eerp: Struct(
        *_file_identity("EERP", 3),
        "user" / name("EERPUSER", 8),
        *_stations("EERP"),
        *_trailer("EERP"),
    ),
    c.Nerp: Struct(
        *_file_identity("NERP", 6),
        *_stations("NERP"),
        "creator" / name("NERPCREA", 25),
        "reason" / code("NERPREAS", 2, NegativeResponseReason),
        "text" / text("NERPREAST"),
        *_trailer("NERP"),
    ),
    c.Rtr: Struct(),
    c.Secd: Struct(),
    c.Auch: Struct("challenge" / binary("AUCHCHAL", secret=True)),
    c.Aurp: Struct("response" / secret_octets("AURPRSP", 20)),
}

LAYOUTS: Final[Mapping[Level, Mapping[type[c.Command], Construct]]] = MappingProxyType(
    {Level.REVISION_2_0: MappingProxyType(_REVISION_2_0)}
)


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
