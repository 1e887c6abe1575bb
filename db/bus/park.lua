-- Put a malformed entry into the dead-letter stream and acknowledge it, in one step. A repeated call
-- for the same entry does nothing.
--
-- KEYS  1 stream   2 dead-letter stream   3 hash of the parked entries
-- ARGV  1 group   2 id of the entry   3 reason   4 maximum of dead letters   5 maximum of raw bytes
--       6 time   7 '1' to delete the entry from its stream
--
-- Returns 1 if the entry was parked now, else 0.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
local raw = entry and string.sub(cjson.encode(entry[2]), 1, tonumber(ARGV[5])) or ''
redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[4], '*', 'id', ARGV[2], 'reason', ARGV[3], 'raw', raw)
local total = tonumber(redis.call('HGET', KEYS[3], 'total') or 0) or 0
redis.call('HSET', KEYS[3], 'total', total + 1, 'last', ARGV[6])
if ARGV[7] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1
