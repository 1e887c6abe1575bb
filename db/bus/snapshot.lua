-- Keep a snapshot of the metrics and publish it, in one step.
--
-- KEYS  1 hash      ARGV  1 channel   2 lifetime in ms   3 body   then fields and values
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('PUBLISH', ARGV[1], ARGV[3])
