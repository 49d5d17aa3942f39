"""Alembic's environment: run the migrations on the connection and in the transaction the ledger has opened.

There is no ``alembic.ini`` and no offline mode: ``oftp2d.ledger.database.migrate`` is the only caller, and a
new step is written by hand.
"""

from __future__ import annotations

from alembic import context

from oftp2d.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
