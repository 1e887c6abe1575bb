-- Acknowledge stored entries and count them, in one step: a repeated acknowledgement counts nothing twice.
--
-- KEYS  1 stream   2 count hash      ARGV  1 group   2 '1' to delete them too   then the entry ids
local stored = 0
for i = 3, #ARGV, 1000 do
  stored = stored + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  if ARGV[2] == '1' then redis.call('XDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end
end
redis.call('HINCRBY', KEYS[2], 'stored', stored)
return stored
