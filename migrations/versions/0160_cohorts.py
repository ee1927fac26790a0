"""The cohort of each student, of what they answered, and of service accounts.

All that exists belongs to the cohort that this deployment has served until now: the one that ``COHORT`` names, else
that of the tracker with the most answers. The totals of other trackers, from other values of ``COHORT``, are added to
its own. Until the end of the migration nobody can read the tables. After a downgrade everybody is in one cohort.
"""

from __future__ import annotations

import os

from alembic import op
from sqlalchemy import text

revision = "0160"
down_revision = "0150"

_GATHER = """
    INSERT INTO embedding_model_tracker (cohort, n_samples_total)
    SELECT :own, coalesce(sum(n_samples_total), 0) FROM embedding_model_tracker WHERE cohort <> :own
    ON CONFLICT (cohort) DO UPDATE
    SET n_samples_total = embedding_model_tracker.n_samples_total + excluded.n_samples_total"""

_OWN = "SELECT cohort FROM embedding_model_tracker ORDER BY n_samples_total DESC, cohort LIMIT 1"


def upgrade() -> None:
    bind = op.get_bind()
    own = os.environ.get("COHORT", "").strip() or bind.execute(text(_OWN)).scalar_one_or_none() or "default"
    bind.execute(text(_GATHER), {"own": own})
    bind.execute(text("UPDATE embedding_model_tracker SET n_samples_total = 0 WHERE cohort <> :own"), {"own": own})
    literal = bind.execute(text("SELECT quote_literal(:own)"), {"own": own}).scalar_one().replace(":", "\\:")
    # A default that is a constant, so no row is written. It also serves the release before, which has one cohort.
    for table in ("users", "practice_tasks", "service_accounts"):
        op.execute(text(f"ALTER TABLE {table} ADD COLUMN cohort text NOT NULL DEFAULT {literal}"))
    op.execute("""
        CREATE TABLE cohorts (
            name text PRIMARY KEY,
            email_domains text[] NOT NULL DEFAULT '{}',
            invitation text UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """)
    op.execute("CREATE INDEX ix_users_of_cohort ON users (cohort, id)")
    op.execute("""
        CREATE INDEX ix_practice_tasks_recently_completed_of_cohort ON practice_tasks (cohort, completed_at)
        WHERE completed AND completed_at > created_at
        """)
    op.execute("DROP INDEX ix_practice_tasks_recently_completed")


def downgrade() -> None:
    op.execute("""
        CREATE INDEX ix_practice_tasks_recently_completed ON practice_tasks (completed_at)
        WHERE completed AND completed_at > created_at
        """)
    op.execute("DROP INDEX ix_practice_tasks_recently_completed_of_cohort")
    op.execute("DROP INDEX ix_users_of_cohort")
    op.execute("DROP TABLE cohorts")
    for table in ("users", "practice_tasks", "service_accounts"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN cohort")
