-- Keep a snapshot of the metrics and publish it, in one step.
--
-- It goes to the replicas, and not to the disk, if the server allows that: the next one comes after
-- 100 ms, and prices would wait until the 20 kB of each are written.
--
-- KEYS  1 hash      ARGV  1 channel   2 lifetime in ms   3 begin of the body   4 numbers   5 strings
--                         6 timestamp   7 seq   8 epoch
local numbers, strings = ARGV[4], ARGV[5]
pcall(redis.set_repl, redis.REPL_SLAVE)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'timestamp', ARGV[6], 'seq', ARGV[7], 'epoch', ARGV[8], 'numbers', numbers, 'strings', strings)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('PUBLISH', ARGV[1], ARGV[3] .. ',"numbers":' .. numbers .. ',"strings":' .. strings .. '}')
