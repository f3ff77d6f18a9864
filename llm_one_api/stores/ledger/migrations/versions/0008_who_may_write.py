"""Who may write: versions that know how sums are laid out, by a number, and none from before there was one.

Those lock the ledger by `UPDATE ledger_seq SET n = n + 0`, which nobody does any more: it is refused, so what they have
in hand stays in the journals, and is kept by workers of this version.
"""

import sqlalchemy as sa
from alembic import op

from llm_one_api.stores.ledger.migrations.waiting import alter

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SAID = "the ledger was upgraded, and this process is of an older version: restart it with the newer one"
_ON_SQLITE = f"""
CREATE TRIGGER ledger_seq_older_writers BEFORE UPDATE OF n ON ledger_seq WHEN NEW.n = OLD.n
BEGIN SELECT RAISE(ABORT, '{_SAID}'); END
"""
_FUNCTION = f"""
CREATE FUNCTION ledger_seq_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{_SAID}' USING ERRCODE = 'object_not_in_prerequisite_state'; END $$
"""
_ON_POSTGRESQL = """
CREATE TRIGGER ledger_seq_older_writers BEFORE UPDATE OF n ON ledger_seq
FOR EACH ROW WHEN (NEW.n = OLD.n) EXECUTE FUNCTION ledger_seq_refuse()
"""


def upgrade() -> None:
    """Make the number, and the trigger."""
    alter(_change)


def _change() -> None:
    op.add_column("ledger_seq", sa.Column("layout", sa.Integer, nullable=False, server_default="1"))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FUNCTION)
        op.execute(_ON_POSTGRESQL)
    else:
        op.execute(_ON_SQLITE)
