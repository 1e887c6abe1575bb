-- Acknowledge stored entries and count them in one step. A repeated acknowledgement counts 0.
--
-- KEYS  1 stream   2 count hash      ARGV  1 group   then the entry ids
local stored = 0
for i = 2, #ARGV, 1000 do
  stored = stored + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
local counted = redis.pcall('HINCRBY', KEYS[2], 'stored', stored)
if type(counted) == 'table' then redis.call('DEL', KEYS[2]) end  -- it cannot be read; the writer counts again
return stored
