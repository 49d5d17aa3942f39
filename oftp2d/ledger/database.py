"""The database under the ledger: an engine, its pragmas, its transactions, and the way to the newest schema.

SQLite runs in WAL mode with ``synchronous=FULL``: a committed transaction survives the loss of power. Writers
begin with ``BEGIN IMMEDIATE``, so that two processes on one file queue up instead of failing half-way, and
readers never wait for them. On any other database row locks make writers that meet on a row wait.

A transaction that may be forgotten is committed with ``synchronous=NORMAL``: no kill of the process can undo it,
but a loss of power may, until the next durable one. The log is one file and is read up to its first gap, so what
is durable never rests on something that is not: transactions are lost from the end, in their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from oftp2d.errors import OperatorError
from oftp2d.ledger.errors import LedgerUnavailableError
from oftp2d.migrations import HEAD

_BUSY_TIMEOUT: Final = 30_000
"""How long a SQLite writer waits for another process, in milliseconds."""


_COLLISIONS: Final = 4

T = TypeVar("T")


class Database:
    """An engine whose transactions are either ``writing()`` or ``reading()``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers = engine.execution_options(oftp2d_reading=True)
        self._forgettable = engine.execution_options(oftp2d_durable=False)

    @classmethod
    def open(cls, url: str) -> Database:
        """Connect, and bring the schema to its head revision.

        Raises OperatorError where the database cannot be opened, or was made by a newer release.
        """
        try:
            if not _is_newest(url):
                migrate(url)
            engine = _engine(url)
        except (DatabaseError, sa.exc.ArgumentError) as error:
            what = f"the ledger's database cannot be opened ({_first_line(error)})"
            raise OperatorError(what, "check the database url and the rights on its file and folder") from error
        return cls(engine)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """One transaction that changes something; committed and, if it is to be durable, on disk when the block ends."""
        with _available(), (self._engine if durable else self._forgettable).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only looks: a consistent picture that no writer disturbs."""
        with _available(), self._readers.begin() as connection:
            yield connection

    def insist(self, step: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run ``step`` as one writing transaction, again where another process took a unique key first.

        Raises IntegrityError where it is not a matter of being quicker.
        """
        for _ in range(_COLLISIONS):
            with suppress(IntegrityError), self.writing(durable=durable) as connection:
                return step(connection)
        with self.writing(durable=durable) as connection:
            return step(connection)

    def close(self) -> None:
        """Close every connection; nothing may be running."""
        self._engine.dispose()


@contextmanager
def _available() -> Iterator[None]:
    """Say in our own words that the database cannot be used. Raises LedgerUnavailableError."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        # The second where a transaction cannot even begin, which is not the business of SQLAlchemy.
        raise LedgerUnavailableError(_first_line(error)) from error


def _is_newest(url: str) -> bool:
    """Whether the schema is that of this release already, as it nearly always is: Alembic takes time and memory to load."""
    engine = _engine(url, migrating=True)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
    except SQLAlchemyError:
        # Whatever it is, to migrate finds out.
        return False
    finally:
        engine.dispose()


def migrate(url: str, revision: str = HEAD) -> None:
    """Bring the schema to ``revision`` in one transaction; nothing happens when it is there already.

    Raises OperatorError where the database was made by a newer release.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script.revision import ResolutionError  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    engine = _engine(url, migrating=True)
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "oftp2d:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except (CommandError, ResolutionError) as error:
        what = "the ledger's database was made by a newer release of oftp2d"
        raise OperatorError(what, "install that release, or restore the backup made before it") from error
    finally:
        engine.dispose()


def _engine(url: str, *, migrating: bool = False) -> Engine:
    """An engine with our pragmas. Migrations rebuild tables, which foreign keys would take for deletions."""
    engine = sa.create_engine(url, poolclass=NullPool) if migrating else sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_pragmas_to_migrate if migrating else _set_pragmas)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    """Prepare a fresh SQLite connection; transactions are begun by us, not by the driver."""
    _set_pragmas_to_migrate(connection, _record)
    connection.execute("PRAGMA foreign_keys=ON")


def _set_pragmas_to_migrate(connection: Any, _record: object) -> None:
    """Prepare a SQLite connection whose foreign keys are off."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
    # The switch to WAL needs the file for itself; asking first keeps later openers out of each other's way.
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    """Take the write lock at the start of a writing transaction, where waiting for it is still harmless."""
    options = connection.get_execution_options()
    cursor = connection.connection.cursor()
    if options.get("oftp2d_reading", False):
        cursor.execute("BEGIN")
        return
    synchronous = "FULL" if options.get("oftp2d_durable", True) else "NORMAL"
    if connection.info.get("synchronous") != synchronous:
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        connection.info["synchronous"] = synchronous
    cursor.execute("BEGIN IMMEDIATE")


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DatabaseError) and error.orig is not None else error
    return str(cause).partition("\n")[0]
