-- Partitions are created and dropped by functions with the rights of the owner of the tables. A role
-- that may only change rows can then do both, and nothing else: the functions accept the months of
-- three tables alone.

-- `month` is of the form 2014-05. CREATE … PARTITION OF would wait for every reader of the table;
-- ATTACH does not.
CREATE FUNCTION make_month(relation text, month text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $function$
DECLARE
    partition text := relation || '_' || replace(month, '-', '_');
    first timestamp;
BEGIN
    IF relation NOT IN ('prices', 'raw_trades', 'candles') OR month !~ '^[0-9]{4}-(0[1-9]|1[0-2])$' THEN
        RAISE EXCEPTION 'no partition of % for the month %', relation, month;
    END IF;
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN;
    END IF;
    first := (month || '-01')::timestamp;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition, relation);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', relation, partition,
                   first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
END
$function$;

CREATE FUNCTION drop_month(partition text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(quote_ident(partition))
                   AND inhparent IN (to_regclass('prices'), to_regclass('raw_trades'), to_regclass('candles'))) THEN
        RAISE EXCEPTION '% is no partition of a month', partition;
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
END
$function$;

-- A fixed search_path, so that no object of the caller takes the place of one of ours. PostgreSQL
-- searches pg_catalog before it.
DO $migration$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY '{"make_month(text, text)","drop_month(text)","keep_days(text, int)"}'::text[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', signature, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    END LOOP;
END
$migration$;
