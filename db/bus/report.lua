-- Accept one batch of reports: limit the rate of each bot, leave duplicates out, append the others
-- to the stream, in one atomic step. Acknowledged entries are deleted from the stream, so its length
-- is the number of unprocessed reports.
--
-- KEYS  1 stream, then for each bot: hash of its rate, then for each report: its key
-- ARGV  1 limit: maximum of unprocessed reports   2 lifetime of the keys of reports in seconds
--       3 reports per second and bot   4 number of bots   then for each bot: number of its reports,
--       then for each report: digest, text, time of reception
--
-- Returns {'rate', seconds until the batch fits}, {'full'}, or {'ok', then for each report: 0 (new), 1
-- (duplicate) or 2 (another content under the same id)}. Only 'ok' has an effect.
local limit, life, rate, bots = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

-- A bucket of `rate` tokens per bot. A larger batch needs a full bucket and leaves a debt, so that
-- the rate holds for batches of any size.
local left, wait = {}, 0
for i = 1, bots do
  local count = tonumber(ARGV[4 + i])
  local state = redis.call('HMGET', KEYS[1 + i], 'tokens', 'at')
  local tokens, at = tonumber(state[1]), tonumber(state[2])
  if not tokens or not at or at > now then tokens, at = rate, now end
  tokens = math.min(rate, tokens + (now - at) * rate)
  local needed = math.min(count, rate)
  -- Half a token, so that rounding never refuses the last report of a second.
  if tokens + 0.5 < needed then wait = math.max(wait, (needed - tokens) / rate) end
  left[i] = tokens - count
end
if wait > 0 then return {'rate', string.format('%.3f', wait)} end

local answer, fresh, known = {'ok'}, {}, {}
for i = 2 + bots, #KEYS do
  local digest = ARGV[5 + bots + 3 * (i - 2 - bots)]
  local stored = known[KEYS[i]] or redis.call('GET', KEYS[i])
  if not stored then
    known[KEYS[i]] = digest
    fresh[#fresh + 1] = i
  end
  answer[#answer + 1] = not stored and 0 or (stored == digest and 1 or 2)
end
if #fresh > 0 and redis.call('XLEN', KEYS[1]) + #fresh > limit then return {'full'} end

for i = 1, bots do
  redis.call('HSET', KEYS[1 + i], 'tokens', string.format('%.6f', left[i]), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[1 + i], 60000 + math.max(0, math.ceil(-left[i] / rate * 1000)))
end
for _, i in ipairs(fresh) do
  local place = 5 + bots + 3 * (i - 2 - bots)
  redis.call('SET', KEYS[i], ARGV[place], 'EX', life)
  redis.call('XADD', KEYS[1], '*', 'digest', ARGV[place], 'report', ARGV[place + 1], 'received', ARGV[place + 2])
end
return answer
