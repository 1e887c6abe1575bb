-- Publish a batch on one channel, in one atomic step for the whole batch.
--
-- KEYS  1 epoch   2 seq hash   3 stream   4 latest hash   5 count hash   6 receipt
--       7… seq hashes of all channels
-- ARGV  1 channel
--       2 epoch to begin if there is none
--       3 tail: entries the stream keeps beyond the unstored ones; with limit 0: 0 for no stream
--       4 limit: maximum of unstored entries (0: the channel is not stored)
--       5 '1' to keep the latest body per topic
--       6 number of the batch with its publisher ('': no receipt)
--       7 lifetime of the receipt in seconds
--       then for each message: topic, body without its closing brace, source, volume,
--       occurrence ('': 1, which the entry does not carry)
--
-- Returns {epoch, seq, seq, …}, or {} if the batch does not fit: then nothing was done.
local number = ARGV[6]
if number ~= '' then
  local receipt = redis.call('GET', KEYS[6])
  if receipt then
    local last, answer = cmsgpack.unpack(receipt)
    if last == number then return answer end
  end
end

local batch = (#ARGV - 7) / 5
local limit = tonumber(ARGV[4])
local unstored = 0
if limit > 0 then
  local counts = redis.call('HMGET', KEYS[5], 'published', 'stored')
  unstored = tonumber(counts[1] or 0) - tonumber(counts[2] or 0)
  if unstored + batch > limit then return {} end
end

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[1], epoch)
  -- A new epoch counts from one on every channel: counters of an older epoch must not continue.
  for i = 7, #KEYS do redis.call('DEL', KEYS[i]) end
end

local tail = tonumber(ARGV[3])
local has_stream = tail > 0 or limit > 0
local keep = tail + unstored + batch
local answer = {epoch}
for i = 8, #ARGV, 5 do
  local topic, open_body = ARGV[i], ARGV[i + 1]
  local seq = redis.call('HINCRBY', KEYS[2], topic, 1)
  local body = open_body .. ',"seq":' .. seq .. ',"epoch":"' .. epoch .. '"}'
  if has_stream then
    local fields = {'topic', topic, 'seq', seq, 'epoch', epoch, 'body', body, 'source', ARGV[i + 2], 'volume', ARGV[i + 3]}
    if ARGV[i + 4] ~= '' then
      fields[#fields + 1] = 'occurrence'
      fields[#fields + 1] = ARGV[i + 4]
    end
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', keep, '*', unpack(fields))
  end
  if ARGV[5] == '1' then redis.call('HSET', KEYS[4], topic, body) end
  redis.call('PUBLISH', ARGV[1], body)
  answer[#answer + 1] = seq
end
if limit > 0 then redis.call('HINCRBY', KEYS[5], 'published', batch) end
if number ~= '' then redis.call('SET', KEYS[6], cmsgpack.pack(number, answer), 'EX', ARGV[7]) end
return answer
