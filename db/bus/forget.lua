-- Acknowledge stored entries of trades, delete them and count their trades, in one step. A repeated
-- acknowledgement counts 0.
--
-- KEYS  1 stream   2 count hash      ARGV  1 group, then for each entry: id, number of trades
local stored = 0
for i = 2, #ARGV, 2 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then stored = stored + tonumber(ARGV[i + 1]) end
  redis.call('XDEL', KEYS[1], ARGV[i])
end
local counted = redis.pcall('HINCRBY', KEYS[2], 'stored', stored)
if type(counted) == 'table' then redis.call('DEL', KEYS[2]) end  -- it cannot be read; the writer counts again
return stored
