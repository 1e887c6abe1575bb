-- Age of the oldest entry of a stream that its consumer group has not acknowledged, in milliseconds
-- by the clock of Redis, which gave the ids; -1 if there is none. Writes nothing.
--
-- KEYS  1 stream      ARGV  1 group
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local delivered, oldest
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local fields = {}
  for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
  if fields['name'] == ARGV[1] then
    delivered = fields['last-delivered-id']
    if fields['pending'] > 0 then oldest = redis.call('XPENDING', KEYS[1], ARGV[1])[2] end
  end
end
if not oldest then
  local first = redis.call('XRANGE', KEYS[1], delivered and '(' .. delivered or '-', '+', 'COUNT', 1)[1]
  if not first then return -1 end
  oldest = first[1]
end
local now = redis.call('TIME')
return now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+'))
