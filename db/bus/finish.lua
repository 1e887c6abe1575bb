-- Acknowledge processed reports and delete them from the stream, in one step.
--
-- KEYS  1 stream      ARGV  1 group, then the entry ids
--
-- Returns the number of entries that were not acknowledged before.
local done = 0
for i = 2, #ARGV, 1000 do
  local last = math.min(i + 999, #ARGV)
  done = done + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, last))
  redis.call('XDEL', KEYS[1], unpack(ARGV, i, last))
end
return done
