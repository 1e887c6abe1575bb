-- Replace a report, if it is still the one that was seen. Returns 1, or 0 if it has changed.
--
-- KEYS  1 report      ARGV  1 report seen   2 new report   3 lifetime in seconds
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
