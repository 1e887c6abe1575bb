"""Roles of the embedded PostgreSQL: their passwords, and the SQL that creates them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from db.rights import OWNER, READER, ROLES, WRITER
from ops.private_files import secret


def passwords(hub_dir: Path) -> dict[str, str]:
    """Return role -> password; each is in a file of its own, created if it is missing."""
    return {role: secret(hub_dir / f"postgres.{role.removeprefix('tickwire_')}.password") for role in ROLES}


def creation(database: str, of_roles: Mapping[str, str]) -> str:
    """Return the SQL that creates the missing roles and gives them `database`.

    The bootstrap superuser executes it at each start, in one transaction. Objects that belong to
    this superuser, as in data of an older version, get the owner's role.
    """
    return "\n".join(
        (
            "BEGIN;",
            # No statement with a password reaches the log of the server.
            "SET log_min_error_statement = panic; SET log_statement = none;",
            *(_role(role, password) for role, password in of_roles.items()),
            f"ALTER ROLE {READER} SET default_transaction_read_only = on;",
            f"ALTER DATABASE {database} OWNER TO {OWNER};",
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {WRITER};",
            f"GRANT CONNECT ON DATABASE {database} TO {READER};",
            "DO $do$ BEGIN IF EXISTS (SELECT FROM pg_database WHERE datname = 'postgres')"
            " THEN REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC; END IF; END $do$;",
            _CHANGE_OWNER.replace("OWNER_ROLE", OWNER),
            "COMMIT;",
        )
    )


def _role(role: str, password: str) -> str:
    quoted = password.replace("'", "''")
    return (
        f"DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role}; END IF; END $do$;\n"
        f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD '{quoted}';"
    )


# REASSIGN OWNED refuses the bootstrap superuser. Sequences of columns follow their tables, and
# members of an extension stay with it.
_CHANGE_OWNER = """
DO $do$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
        objects (kind, name, owner, class, oid) AS (
            SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                   oid::regclass::text, relowner, 'pg_class'::regclass, oid
            FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relnamespace IN (SELECT oid FROM ours)
            UNION ALL
            SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
                   oid::regprocedure::text, proowner, 'pg_proc'::regclass, oid
            FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
            UNION ALL
            SELECT 'TYPE', t.oid::regtype::text, typowner, 'pg_type'::regclass, t.oid
            FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
            WHERE typnamespace IN (SELECT oid FROM ours) AND (typtype IN ('d', 'e', 'r') OR c.relkind = 'c')
            UNION ALL
            SELECT 'SCHEMA', oid::regnamespace::text, nspowner, 'pg_namespace'::regclass, oid
            FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
        )
        SELECT format('ALTER %s %s OWNER TO OWNER_ROLE', kind, name) FROM objects
        WHERE owner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = objects.class AND d.objid = objects.oid
                          AND (d.deptype = 'e' OR kind = 'SEQUENCE' AND d.deptype IN ('a', 'i')))
    LOOP
        EXECUTE statement;
    END LOOP;
END
$do$;
"""
