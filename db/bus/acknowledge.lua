-- Acknowledge stored entries and count them in one step. A repeated acknowledgement counts 0.
--
-- KEYS  1 stream   2 count hash      ARGV  1 group   then the entry ids
local stored = 0
for i = 2, #ARGV, 1000 do
  stored = stored + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('HINCRBY', KEYS[2], 'stored', stored)
return stored
