"""Upgrade of the embedded PostgreSQL from 16 to 18 with `pg_upgrade --link`.

Until the renames, the old data stay usable: every failure, and the next start after a kill, goes
back to them. After the renames only the new data are used.
"""
