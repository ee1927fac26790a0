"""Shards of the counter, for completions of one cohort at the same time."""

from __future__ import annotations

from alembic import op

revision = "0101"
down_revision = "0091"


def upgrade() -> None:
    # Half of each page stays free, so that a new version of a row fits next to the old one.
    op.execute("""
        CREATE TABLE tracker_shards (
            cohort text NOT NULL,
            shard smallint NOT NULL,
            n bigint NOT NULL,
            PRIMARY KEY (cohort, shard)
        ) WITH (fillfactor = 50)
        """)
    op.execute("ALTER TABLE embedding_model_tracker ADD COLUMN n_shards_counted bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("""
        UPDATE embedding_model_tracker k
        SET n_samples_since_training = n_samples_since_training + s.n - n_shards_counted,
            n_samples_total = n_samples_total + s.n - n_shards_counted
        FROM (SELECT cohort, sum(n) AS n FROM tracker_shards GROUP BY cohort) s
        WHERE s.cohort = k.cohort AND s.n > n_shards_counted
        """)
    op.execute("ALTER TABLE embedding_model_tracker DROP COLUMN n_shards_counted")
    op.execute("DROP TABLE tracker_shards")
