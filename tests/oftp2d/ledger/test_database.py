"""The database itself: its schema, its pragmas, and what an operator is told when it cannot be had."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from oftp2d import migrations
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Demand,
    Holder,
    Ledger,
    LedgerUnavailableError,
    NewReceipt,
    Origin,
    Partner,
    ReceiptKind,
    Station,
    Transfer,
    TransferState,
)
from oftp2d.ledger.database import Database, migrate
from oftp2d.ledger.schema import metadata
from oftp2d.migrations import HEAD

pytestmark = pytest.mark.usefixtures("migrations")


def _definitions(path: Path) -> dict[str, list[str]]:
    """The definition of every table and index, as its sorted parts: the order of columns and constraints does not matter."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("select name, sql from sqlite_master where sql is not null").fetchall()
    return {name: sorted(_parts(sql)) for name, sql in rows if not name.startswith("alembic")}


def _parts(definition: str) -> Iterator[str]:
    """What stands between the commas of a definition; one inside of brackets parts nothing."""
    head, _, inner = definition.replace('"', "").partition("(")
    yield " ".join(head.split())
    depth, part = 0, ""
    for letter in inner:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth < 0 or (letter == "," and not depth):
            yield " ".join(part.split())
            part, depth = "", max(depth, 0)
        else:
            part += letter
    yield " ".join(part.split())


def test_the_migrations_lead_to_the_tables_of_the_schema(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'migrated.db'}")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert _definitions(tmp_path / "migrated.db") == _definitions(tmp_path / "created.db")


def test_alembic_finds_nothing_to_migrate(tmp_path: Path, url: str) -> None:
    migrate(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_newest_step_is_known_without_alembic(url: str) -> None:
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [HEAD]
    Ledger.open(url).close()
    code = f"import sys; from oftp2d.ledger import Ledger; Ledger.open({url!r}).close(); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_constraint_and_index_has_a_name(tmp_path: Path) -> None:
    for table in metadata.tables.values():
        for item in (*table.constraints, *table.indexes):
            assert item.name


def _downgrade(url: str, revision: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "oftp2d:migrations")
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_the_first_migration_can_be_taken_back(tmp_path: Path, url: str) -> None:
    migrate(url)
    _downgrade(url, "base")
    assert _definitions(tmp_path / "ledger.db") == {}


OF_REVISION_6 = """
    INSERT INTO stations (code, name, main) VALUES ('O0055US', 'ours', 1);
    INSERT INTO partners (id, code, name, station, port, transport, client_certificate, password_ours, password_theirs, acx,
                          authentication, buffer_size, credit, compression, active, created_at, call_failures)
        VALUES (1, 'O0055THEM', 'theirs', 'O0055US', 6619, 'tls', 0, '', '', 'off', 'off', 99999, 999, 1, 1, 1, 0);
    INSERT INTO transfers (id, direction, kind, partner_id, dataset, date, time, user, originator, destination, format,
                           description, octets, spool_name, file_name, state, attempts, created_at, updated_at, efid_sent,
                           reached, original_size)
        VALUES ('0123456789AB', 'out', 'file', 1, 'INVOICE', '20260304', '1230150001', '', 'O0055US', 'O0055THEM', 'V',
                'of March', 5, 'one', 'invoice.edi', 'queued', 0, 1, 1, 0, 3, 7),
               ('0123456789AC', 'in', 'file', 1, 'ORDER', '20260304', '1230150001', '', 'O0055THEM', 'O0055US', 'U',
                '', 5, 'two', 'order.edi', 'delivered', 1, 1, 1, 0, NULL, NULL);
    INSERT INTO receipts (transfer_id, partner_id, kind, dataset, date, time, user, originator, destination, creator, text,
                          state, created_at)
        VALUES ('0123456789AC', 1, 'EERP', 'ORDER', '20260304', '1230150001', '', 'O0055US', 'O0055THEM', 'O0055US', '',
                'owed', 1);
"""


def test_a_ledger_in_use_becomes_one_with_file_security_and_loses_nothing(tmp_path: Path, url: str) -> None:
    path = tmp_path / "ledger.db"
    migrate(url, "0006")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OF_REVISION_6)
        before = connection.execute("SELECT * FROM transfers ORDER BY id").fetchall()
    ledger = Ledger.open(url)
    partner = ledger.partners.by_code("O0055THEM")
    assert partner is not None
    assert (partner.sign_files, partner.encrypt_files, partner.cipher_suite) == (False, False, 4)
    assert (partner.incoming_signed, partner.least_rsa_bits) == (Demand.ALLOWED, 2048)
    first = ledger.transfers.get("0123456789AB")
    assert (first.state, first.original_size, first.plain_name, first.signers) == (TransferState.QUEUED, 7, None, ())
    assert ledger.transfers.get("0123456789AC").end_response == "owed"
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        after = connection.execute("SELECT * FROM transfers ORDER BY id").fetchall()
        assert [row[: len(before[0])] for row in after] == before
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("UPDATE transfers SET state = 'securing' WHERE id = '0123456789AB'")
        with pytest.raises(sqlite3.IntegrityError, match="ck_transfers_state"):
            connection.execute("UPDATE transfers SET state = 'elsewhere'")
        connection.commit()
    _downgrade(url, "0006")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT state FROM transfers ORDER BY id").fetchall()
        assert found == [("failed",), ("delivered",)]
        with pytest.raises(sqlite3.IntegrityError, match="ck_transfers_state"):
            connection.execute("UPDATE transfers SET state = 'securing'")


KNOWN = "ab" * 32
OF_REVISION_7 = (
    OF_REVISION_6
    + """
    INSERT INTO certificates (id, fingerprint, der, holder, partner_id, station, alias, usages, active, valid_from,
                              valid_until, slot, private_key, source, added_at)
        VALUES (1, 'KNOWN', 'A', 'own', NULL, 'O0055US', 'ours', 'signature', 1, 1, 2, 'current', X'6B6579', 'generated', 1),
               (2, 'b', 'B', 'partner', 1, 'O0055THEM', 'theirs', 'signature', 1, 1, 2, 'previous', NULL, 'acx', 1),
               (3, 'c', 'C', 'anchor', NULL, NULL, 'root', '', 0, 1, 2, 'current', NULL, 'imported', 1),
               (4, 'd', 'D', 'anchor', NULL, NULL, 'issuing', '', 1, 1, 2, 'current', NULL, '', 1);
    INSERT INTO exchanges (id, partner_id, direction, message, transfer_id, fingerprint, state, text, created_at)
        VALUES (1, 1, 'in', 'DELIVER', '0123456789AC', 'b', 'accepted', 'a successor', 1);
    INSERT INTO announcements (id, partner_id, common_name, key_usages, usages, created_at)
        VALUES (1, 1, 'oftp.theirs', '', 'signature', 1);
    INSERT INTO audit (id, at, partner_code, event, detail)
        VALUES (1, 1, NULL, 'station made', '{"code": "O0055US", "fingerprint": "KNOWN"}'),
               (2, 1, NULL, 'a name only', '{"alias": "\\"fingerprint\\""}'),
               (3, 1, 'O0055THEM', 'refused', '{"fingerprint": null}');
""".replace("KNOWN", KNOWN)
)


def test_a_ledger_in_use_becomes_one_with_origins_and_histories_and_back(tmp_path: Path, url: str) -> None:
    path = tmp_path / "ledger.db"
    migrate(url, "0007")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OF_REVISION_7)
    ledger = Ledger.open(url)
    stored = [(entry.alias, entry.holder, entry.active, entry.origin) for entry in ledger.certificates.list()]
    assert stored == [
        ("ours", Holder.OWN, True, Origin.GENERATED),
        ("theirs", Holder.PARTNER, True, Origin.DELIVERED),
        ("root", Holder.INTERMEDIATE, True, Origin.IMPORTED),
        ("issuing", Holder.ANCHOR, True, Origin.IMPORTED),
    ]
    assert ledger.certificates.list()[0].private_key == b"key"
    assert [entry.event for entry in ledger.audit.list(fingerprint=KNOWN)] == ["station made"]
    assert [entry.fingerprint for entry in ledger.audit.list()] == [None, None, KNOWN]
    (record,) = ledger.exchanges.list()
    assert (record.text, record.der, record.rule, record.reminders, record.renewal_id) == (
        "a successor",
        None,
        "",
        0,
        None,
    )
    assert ledger.certificates.announcements()[0].host is None
    partner = ledger.partners.by_code("O0055THEM")
    assert partner is not None
    assert (partner.hold_certificates, partner.replace_scope, partner.only_own_anchors) == (False, "slots", False)
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("UPDATE exchanges SET state = 'held'")
        connection.execute(
            "INSERT INTO certificates (fingerprint, der, holder, partner_id, alias, usages, active, valid_from, valid_until,"
            " slot, origin, added_at) VALUES ('e', 'E', 'anchor', 1, 'for one', '', 1, 1, 2, 'current', 'renewed', 1)"
        )
        for table, column in (("exchanges", "state"), ("certificates", "holder"), ("certificates", "origin")):
            with pytest.raises(sqlite3.IntegrityError, match=f"ck_{table}_{column}"):
                connection.execute(f"UPDATE {table} SET {column} = 'elsewhere'")  # noqa: S608 - of the names above
    _downgrade(url, "0007")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT alias, holder, active, source FROM certificates ORDER BY id").fetchall()
        assert found == [
            ("ours", "own", 1, "generated"),
            ("theirs", "partner", 1, "acx"),
            ("root", "anchor", 0, "imported"),
            ("issuing", "anchor", 1, "imported"),
            ("for one", "anchor", 0, "renewed"),
        ]
        assert connection.execute("SELECT * FROM exchanges").fetchall() == [], "a held message is judged again"
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (3,)


def test_a_ledger_in_use_becomes_one_with_credential_sets_and_back(tmp_path: Path, url: str) -> None:
    path = tmp_path / "ledger.db"
    migrate(url, "0008")
    before = _definitions(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO stations (code, name, main) VALUES ('O0055US', 'ours', 1)")
        connection.execute("INSERT INTO audit (id, at, event, detail) VALUES (1, 1, 'station made', '{}')")
    ledger = Ledger.open(url)
    now = datetime(2026, 3, 4, tzinfo=UTC)
    ledger.credential_sets.keep_answer("site-1", b"sealed", None, now)
    ledger.credential_secrets.put("site-1", "password", b"sealed", now)
    assert [station.code for station in ledger.stations.list()] == ["O0055US"]
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with pytest.raises(sqlite3.IntegrityError, match="ck_candidates_state"):
            connection.execute("UPDATE candidates SET state = 'elsewhere'")
    _downgrade(url, "0008")
    assert _definitions(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT code FROM stations").fetchall() == [("O0055US",)]
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (3,), "what happened stays told"
    migrate(url)
    assert _definitions(path).keys() > before.keys()


def test_the_schema_compiles_for_postgresql() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateIndex, CreateTable

    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        assert "CONSTRAINT pk_" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_a_commit_survives_the_loss_of_power(url: str) -> None:
    database = Database.open(url)
    with database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_opening_again_keeps_everything(url: str, ledger: Ledger) -> None:
    again = Ledger.open(url)
    assert [station.code for station in again.stations.list()] == ["O0055US"]
    again.close()


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path, url: str) -> None:
    Ledger.open(url).close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(OperatorError, match="newer release"):
        Ledger.open(url)


def test_a_database_that_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="unable to open database file") as raised:
        Ledger.open(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.db'}")
    assert "\n" not in str(raised.value)


def test_a_database_that_is_locked_for_too_long_cannot_be_used_now(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oftp2d.ledger.database._BUSY_TIMEOUT", 0)
    ledger = Ledger.open(url)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailableError, match="database is locked"):
            ledger.stations.add(Station(code="O0013000001TESTA0", name="A", main=True))
        assert ledger.stations.list() == []
    ledger.close()


def test_an_instant_without_a_time_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(sa.exc.StatementError, match="with a time zone"):
        ledger.audit.record(datetime(2026, 1, 1), None, "test")  # noqa: DTZ001


def test_several_processes_may_open_a_new_database_at_once(url: str) -> None:
    failures: list[BaseException] = []

    def open_() -> None:
        try:
            Ledger.open(url).close()
        except BaseException as error:  # noqa: BLE001 (any failure of a thread is the test's)
            failures.append(error)

    threads = [threading.Thread(target=open_) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_row_that_can_never_be_written_is_not_tried_for_ever(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        ledger.transfers.queue(replace(files.outgoing(partner), partner_id=99), now)
    assert ledger.transfers.list() == []


def test_what_may_be_forgotten_does_not_wait_for_the_disk_and_what_is_durable_does(ledger: Ledger) -> None:
    off, normal, full = 0, 1, 2
    assert off < normal < full
    for durable in (True, False, True, True, False):
        with ledger._database.writing(durable=durable) as connection:
            found = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        assert found == (full if durable else normal)


def test_each_step_that_is_told_to_the_partner_is_durable(
    ledger: Ledger, partner: Partner, files: Any, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EFID, EFPA and RTR may go only behind a commit that a loss of power cannot take back."""
    committed: list[bool] = []
    writing = Database.writing

    def watched(self: Database, *, durable: bool = True) -> Any:
        committed.append(durable)
        return writing(self, durable=durable)

    lease = timedelta(seconds=60)
    monkeypatch.setattr(Database, "writing", watched)
    transfers = ledger.transfers
    ours = [transfers.queue(files.outgoing(partner), now) for _ in range(2)]
    assert committed == [True, True]
    transfers.claim(partner.id, "session-1", now, lease, files=2, octets=100)
    committed.clear()
    transfers.efid_going(ours[0].id, "session-1")
    transfers.next_efid_going(ours[0].id, ours[1].id, "session-1", now)
    transfers.acknowledged(ours[0].key, now)
    transfers.refused(ours[1].key, now, "NERP 34", "")
    assert committed == [True] * 4
    arriving = transfers.open_incoming(files.incoming(partner), now, "session-1", lease)
    assert isinstance(arriving, Transfer)
    committed.clear()
    receipt = NewReceipt(kind=ReceiptKind.EERP)
    transfers.received_and_delivered(arriving.id, 1, "", "inbox", now, receipt=receipt)
    assert committed == [True]
