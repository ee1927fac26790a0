"""The three database roles, and what each may do.

The API and the schedules log in as ``<prefix>_api``, trainings as ``<prefix>_trainer``, migrations and the operator's
commands as ``<prefix>_migrator``. Only the last is a member of ``<prefix>_table_owner``, which has no login.

The owner is a role of its own because the user who creates the roles must be a member of it, too. If that user were a
member of a role that logs in to RDS by IAM, RDS would no longer accept the user's password.

``studysmart database roles`` creates the roles. Each migration grants again what is written here, so that a new table
can be used at once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from scramp import ScramMechanism
from sqlalchemy import Connection, text

from chalicelib.domain.errors import ConfigurationError
from chalicelib.storage.timeouts import Timeouts
from migrations.schema import metadata

API, TRAINER, MIGRATOR = "api", "trainer", "migrator"
OWNER = "table_owner"
PURPOSES = {
    API: "read and change accounts, tasks, states and counters",
    TRAINER: "read answers without names and texts, and change the counter",
    MIGRATOR: "do everything with the tables",
}

_WRITE = "SELECT, INSERT, UPDATE, DELETE"

GRANTS: Mapping[str, Mapping[str, str]] = {
    API: {
        "users": "SELECT, INSERT, UPDATE",  # an erased account keeps its row, without personal data
        "practice_tasks": _WRITE,
        "idempotency_keys": _WRITE,
        "practice_state": _WRITE,
        "limit_counts": _WRITE,
        "student_usage": _WRITE,
        "cohorts": "SELECT",  # the operator's command makes them
        # Accounts and keys are made by the operator's commands only.
        "service_accounts": "SELECT",
        "service_keys": "SELECT, UPDATE (last_used_at)",
        "service_actions": "SELECT, INSERT, DELETE",
        "embedding_model_tracker": "SELECT, INSERT, UPDATE",
        "tracker_shards": "SELECT, INSERT, UPDATE",
        # The operator's command adds and removes them, with address and secret.
        "webhook_receivers": "SELECT, UPDATE (disabled_at, lease_expires_at, next_attempt_at, failures, last_error,"
        " delivered_at)",
        "webhook_deliveries": _WRITE,
    },
    TRAINER: {
        # Neither addresses and names, nor the texts of tasks: no training learns from them.
        "users": "SELECT (id, cohort, excluded_at, n_answers, changed_at)",
        "practice_tasks": "SELECT (user_id, subject_key, topic_key, item_key, answer_index, difficulty_numeric,"
        " is_correct, actual_time_seconds, completed, completed_at)",
        "embedding_model_tracker": "SELECT, INSERT, UPDATE",
        "tracker_shards": "SELECT",
        "webhook_receivers": "SELECT (id, cohort, events, disabled_at)",  # neither addresses nor secrets
        "webhook_deliveries": "INSERT (receiver_id, type, user_id, data)",
    },
}
"""The privileges of the roles that do not own the tables, by table. A table that is not named is closed to them."""

_PREFIX = text(
    "SELECT left(owner, -length('_table_owner')) FROM (SELECT nspowner::regrole::text AS owner FROM pg_namespace"
    " WHERE nspname = 'public') AS schema WHERE owner LIKE '%\\_table\\_owner'"
)
_OWNERS = text(
    "SELECT relname, relowner::regrole::text AS owner FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relname = ANY(:names) AND relkind = 'r' ORDER BY relname"
)
_FUNCTIONS = text(
    "SELECT CAST(oid AS regprocedure)::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    " AND proname = 'note_changed_student' AND proowner::regrole::text <> :owner"
)

_KNOWN = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)")
_IN_IAM = text(
    "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = CAST(to_regrole('rds_iam') AS oid)"
    " AND member::regrole::text = ANY(:names)"
)
_HAS_IAM = text("SELECT to_regrole('rds_iam') IS NOT NULL")
_DATABASE = text("SELECT current_database()")


def prefix_of(connection: Connection) -> str | None:
    """Return the prefix of the roles that were created for this database, None if there are none."""
    return connection.execute(_PREFIX).scalar_one_or_none()


def create(
    connection: Connection,
    prefix: str,
    timeouts: Timeouts,
    passwords: Mapping[str, str] = MappingProxyType({}),
    *,
    iam: bool = False,
) -> None:
    """Create the roles as far as they are missing, and set their logins, limits and privileges."""
    names = [f"{prefix}_{role}" for role in PURPOSES]
    known = set(connection.execute(_KNOWN, {"names": names}).scalars())
    database = connection.execute(_DATABASE).scalar_one()
    in_iam = set(connection.execute(_IN_IAM, {"names": names}).scalars())
    if iam and not connection.execute(_HAS_IAM).scalar_one():
        raise ConfigurationError("--iam needs the role rds_iam, which only servers of RDS have")
    for role, name in zip(PURPOSES, names, strict=True):
        if name not in known:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        if role in passwords:
            connection.exec_driver_sql(f"ALTER ROLE {name} PASSWORD '{_verifier(passwords[role])}'")
        if iam != (name in in_iam):
            connection.exec_driver_sql(f"GRANT rds_iam TO {name}" if iam else f"REVOKE rds_iam FROM {name}")
        for limit in _limits(role, timeouts):
            connection.exec_driver_sql(f"ALTER ROLE {name} SET {limit}")
    owner, migrator = f"{prefix}_{OWNER}", f"{prefix}_{MIGRATOR}"
    if not connection.execute(_KNOWN, {"names": [owner]}).all():
        connection.exec_driver_sql(f"CREATE ROLE {owner}")
    # Only a member of a role may give it a table.
    connection.exec_driver_sql(f"GRANT {owner} TO {migrator}, CURRENT_USER")
    quoted = database.replace('"', '""')
    connection.exec_driver_sql(f'REVOKE TEMPORARY, CREATE ON DATABASE "{quoted}" FROM PUBLIC')
    connection.exec_driver_sql(f'GRANT CONNECT ON DATABASE "{quoted}" TO {", ".join(names)}')
    connection.exec_driver_sql(f'GRANT CREATE, TEMPORARY ON DATABASE "{quoted}" TO {owner}')
    connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {owner}")
    own_and_grant(connection, prefix)


def _limits(role: str, timeouts: Timeouts) -> Iterator[str]:
    """Give the time-outs of a role, which hold behind a pooler too. Commands of the migrator may take long."""
    if role == API:
        yield f"statement_timeout = {round(timeouts.statement * 1_000)}"
    if role in (API, TRAINER):
        yield f"lock_timeout = {round(timeouts.lock * 1_000)}"
        yield f"idle_in_transaction_session_timeout = {round(timeouts.idle_transaction * 1_000)}"


def _verifier(password: str) -> str:
    """Return what PostgreSQL stores of a password, so that the password is not in the log of statements."""
    salt, stored, server, iterations = ScramMechanism("SCRAM-SHA-256").make_auth_info(password)
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def own_and_grant(connection: Connection, prefix: str) -> None:
    """Give tables and trigger to the owner, and API and trainer exactly the privileges of :data:`GRANTS`."""
    names = [*metadata.tables, "alembic_version"]
    owners = {str(row.relname): str(row.owner) for row in connection.execute(_OWNERS, {"names": names})}
    for statement in _statements(prefix, owners):
        connection.exec_driver_sql(statement)
    owner = f"{prefix}_{OWNER}"
    for function in connection.execute(_FUNCTIONS, {"owner": owner}).scalars().all():
        connection.exec_driver_sql(f"ALTER FUNCTION {function} OWNER TO {owner}")


def _statements(prefix: str, owners: Mapping[str, str]) -> Iterator[str]:
    others = ", ".join(f"{prefix}_{role}" for role in GRANTS)
    yield f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {others}"
    yield f"GRANT USAGE ON SCHEMA public TO {others}"
    for table, owner in owners.items():
        if owner != f"{prefix}_{OWNER}":
            yield f"ALTER TABLE {table} OWNER TO {prefix}_{OWNER}"
        # Privileges of columns that a former release granted go with those of the table.
        yield f"REVOKE ALL ON {table} FROM PUBLIC, {others}"
        for role, tables in GRANTS.items():
            if table in tables:
                yield f"GRANT {tables[table]} ON {table} TO {prefix}_{role}"
