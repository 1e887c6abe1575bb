-- The role with which Grafana reads the store. It may read the tables of the dashboards, and nothing
-- else: no keys, no log of access. Each call sets the password again, and the rights on the tables.
--
--   GRAFANA_DB_PASSWORD=… psql -X -f config/grafana/role.sql "$DATABASE_URL"
--
-- The caller owns the tables and may create roles. psql 14 or newer is needed.

\set ON_ERROR_STOP on
\set password ''
\getenv password GRAFANA_DB_PASSWORD
SELECT :'password' = '' AS missing \gset
\if :missing
    DO $$ BEGIN RAISE EXCEPTION 'GRAFANA_DB_PASSWORD is empty: set it to the password of Grafana''s role'; END $$;
\endif

BEGIN;
SELECT 'CREATE ROLE tickwire_grafana LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tickwire_grafana') \gexec
ALTER ROLE tickwire_grafana WITH LOGIN PASSWORD :'password' CONNECTION LIMIT 20;
ALTER ROLE tickwire_grafana SET default_transaction_read_only = on;
ALTER ROLE tickwire_grafana SET statement_timeout = '20s';
SELECT format('GRANT CONNECT ON DATABASE %I TO tickwire_grafana', current_database()) \gexec
SELECT format('GRANT USAGE ON SCHEMA %I TO tickwire_grafana', current_schema()) \gexec
GRANT SELECT ON
    alerts, bot_heartbeats, candles, fills, health, instruments, job_runs, jobs, orders, positions, prices, round_trips, signals,
    metrics_market_1s, metrics_market_1m, metrics_market_1h,
    metrics_strategy_1s, metrics_strategy_1m, metrics_strategy_1h,
    metrics_execution_1s, metrics_execution_1m, metrics_execution_1h,
    metrics_system_1s, metrics_system_1m, metrics_system_1h
    TO tickwire_grafana;
COMMIT;
