# The image sources this file once, before the first start of a new volume: the database with the
# three roles of docs/deployment.md, section "Roles and rights", and TimescaleDB.
psql -X -q -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres \
    -v owner="$OWNER_PASSWORD" -v writer="$WRITER_PASSWORD" -v reader="$READER_PASSWORD" <<'SQL'
CREATE ROLE tickwire_owner LOGIN PASSWORD :'owner';
CREATE ROLE tickwire_writer LOGIN PASSWORD :'writer';
CREATE ROLE tickwire_reader LOGIN PASSWORD :'reader';
ALTER ROLE tickwire_reader SET default_transaction_read_only = on;
CREATE DATABASE tickwire OWNER tickwire_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE tickwire FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE tickwire TO tickwire_writer;
GRANT CONNECT ON DATABASE tickwire TO tickwire_reader;
\connect tickwire
CREATE EXTENSION IF NOT EXISTS timescaledb;
SQL
