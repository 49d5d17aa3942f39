"""Column types of the ledger: instants, enumerations, sets of names and JSON details.

Written so that SQLite and PostgreSQL keep the same values and order them alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from oftp2.certs.usages import Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

E = TypeVar("E", bound=StrEnum)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole microseconds since 1970: exact, and ordered as numbers are."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Microseconds since the epoch. Raises ValueError for a datetime without a time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = "the ledger takes instants with a time zone only"
            raise ValueError(message)
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The instant in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Names(TypeDecorator[frozenset[str]]):
    """A set of short names, stored sorted and joined with commas."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: Dialect) -> str:  # noqa: ARG002
        """The names joined."""
        return ",".join(sorted(value or ()))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> frozenset[str]:  # noqa: ARG002
        """The names parted."""
        return frozenset(value.split(",")) if value else frozenset()


class Fingerprints(TypeDecorator[tuple[str, ...]]):
    """Fingerprints of certificates in their order, stored joined with commas."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:  # noqa: ARG002
        """The fingerprints joined."""
        return ",".join(value or ())

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[str, ...]:  # noqa: ARG002
        """The fingerprints parted."""
        return tuple(value.split(",")) if value else ()


class Usages(TypeDecorator[frozenset[Usage]]):
    """A set of certificate usages, stored as ``Names``."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: frozenset[Usage] | None, dialect: Dialect) -> str:  # noqa: ARG002
        """The usages joined."""
        return ",".join(sorted(value or ()))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> frozenset[Usage]:  # noqa: ARG002
        """The usages parted."""
        return frozenset(Usage(name) for name in value.split(",")) if value else frozenset()


class Detail(TypeDecorator[Mapping[str, Any]]):
    """A flat mapping, stored as JSON text with sorted keys."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, Any] | None, dialect: Dialect) -> str:  # noqa: ARG002
        """The JSON text."""
        return json.dumps(dict(value or {}), sort_keys=True, ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> dict[str, Any]:  # noqa: ARG002
        """The mapping."""
        mapping: dict[str, Any] = json.loads(value or "{}")
        return mapping


class Records(TypeDecorator[tuple[Any, ...]]):
    """Small frozen dataclasses of texts and numbers in their order, stored as a JSON list of objects."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[Any]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str:  # noqa: ARG002
        """The JSON text."""
        return json.dumps([asdict(each) for each in value or ()], sort_keys=True, ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[Any, ...]:  # noqa: ARG002
        """The dataclasses."""
        return tuple(self.kind(**each) for each in json.loads(value or "[]"))


def enumeration(kind: type[E], name: str, *, checked: bool = True) -> sa.Enum:
    """A column type for a StrEnum: its values as text, with a CHECK constraint called ``name``.

    A column that a later migration adds is not ``checked``: SQLite would have to copy the table for it.
    """
    return sa.Enum(
        kind,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=checked,
        length=16,
        name=name,
    )
