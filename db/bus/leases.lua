-- Renew, remove and add the leases of one caller's connections.
--
-- Returns the members of `add` that found no place, and the milliseconds until each lease of another
-- holder expires.
--
-- KEYS  1 sorted set of leases
-- ARGV  1 JSON: life in milliseconds, limit, and the lists of members keep, remove, add,
--         and the holder: the text with which its members begin
local asked = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, member in ipairs(asked.remove) do redis.call('ZREM', KEYS[1], member) end
for _, member in ipairs(asked.keep) do redis.call('ZADD', KEYS[1], now + asked.life, member) end
local refused = {}
local held = redis.call('ZCARD', KEYS[1])
for _, member in ipairs(asked.add) do
    if held < asked.limit then
        redis.call('ZADD', KEYS[1], now + asked.life, member)
        held = held + 1
    else
        refused[#refused + 1] = member
    end
end
redis.call('PEXPIRE', KEYS[1], asked.life)
local others = {}
local leases = redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'WITHSCORES')
for number = 1, #leases, 2 do
    if string.sub(leases[number], 1, #asked.holder) ~= asked.holder then
        others[#others + 1] = leases[number + 1] - now
    end
end
return {refused, others}
