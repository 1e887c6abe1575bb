-- Write one field of the hash of checks and return it as read back.
--
-- KEYS  1 hash      ARGV  1 process   2 value
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
