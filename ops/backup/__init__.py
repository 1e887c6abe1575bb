"""Backup and restore of PostgreSQL and Redis together.

A backup is a directory of files and `manifest.json`, which is written last. Redis is copied before
PostgreSQL is dumped: a record leaves its stream after it is stored, so the backup has every record
in at least one of both. After a restore the writers receive all entries of the streams again and
recognise the stored rows.
"""
