-- Publish a batch on one channel, in one atomic step for the whole batch.
--
-- A new epoch begins, before a number is given, if the numbers and the stream do not belong
-- together any more: Redis has lost data, or it went back in time.
--
-- KEYS  1 numbers: `epoch`, a counter CHANNEL|TOPIC per topic, `last|CHANNEL` (id of the last entry)
--       2 stream   3 latest hash   4 count hash   5 receipt
-- ARGV  1 channel
--       2 epoch to begin if the numbers are lost
--       3 tail: entries the stream keeps beyond the unstored ones; with limit 0: 0 for no stream
--       4 limit: maximum of unstored entries (0: the channel is not stored)
--       5 '1' to keep the latest body per topic
--       6 number of the batch with its publisher ('': no receipt)
--       7 lifetime of the receipt in seconds
--       8 JSON: [epoch in which the publisher got its last numbers ('': none), its earlier epochs
--         joined by blanks, then for each topic: its name, the last number the publisher got]
--       then for each message: topic, body without its closing brace, source, volume,
--       occurrence ('': 1, which the entry does not carry)
--
-- Returns {repeated (0 or 1), epoch, seq, seq, …}, or {} if the batch does not fit: then nothing was
-- published.
local MOST_FOREIGN = 1000
local channel, number = ARGV[1], ARGV[6]
if number ~= '' then
  local receipt = redis.call('GET', KEYS[5])
  if receipt then
    local readable, last, answer = pcall(cmsgpack.unpack, receipt)
    if readable and last == number and type(answer) == 'table' then
      table.insert(answer, 1, 1)
      return answer
    end
  end
end

local known = cjson.decode(ARGV[8])
local topics = (#known - 2) / 2
local batch = (#ARGV - 8) / 5
local tail, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local unstored = 0
if limit > 0 then
  local counts = redis.call('HMGET', KEYS[4], 'published', 'stored')
  local published, stored = tonumber(counts[1]), tonumber(counts[2] or 0)
  if not published or not stored then
    -- The counts are lost. Count every entry as unstored, so that none is trimmed too early; the
    -- writer corrects it.
    published, stored = redis.call('XLEN', KEYS[2]), 0
    redis.call('HSET', KEYS[4], 'published', published, 'stored', stored)
  end
  unstored = math.max(0, published - stored)
  if unstored + batch > limit then unstored = math.min(unstored, redis.call('XLEN', KEYS[2])) end
  if unstored + batch > limit then return {} end
end

local has_stream = tail > 0 or limit > 0
local fields = {'epoch', 'last|' .. channel}
for i = 1, topics do fields[i + 2] = channel .. '|' .. known[1 + 2 * i] end
local kept = redis.call('HMGET', KEYS[1], unpack(fields))
local epoch, last = kept[1], kept[2]

local function epoch_of(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'epoch' then return entry[2][i + 1] end
  end
end

local function is_lost()
  if not epoch then return true end
  if epoch ~= known[1] and (not string.find(epoch, '^%w+$') or string.find(known[2], epoch, 1, true)) then return true end
  for i = 1, topics do
    local counter = tonumber(kept[i + 2] or 0)
    if not counter or (epoch == known[1] and counter < known[2 + 2 * i]) then return true end
  end
  if not has_stream then return false end
  local entry = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  -- The first message of the channel in this epoch: the stream has entries of other epochs only.
  if not last then return entry and epoch_of(entry) == epoch end
  if entry and entry[1] == last then return false end
  -- Other programs may have appended entries, which are none of this epoch.
  local entries = redis.call('XRANGE', KEYS[2], last, '+', 'COUNT', MOST_FOREIGN)
  if not entries[1] or entries[1][1] ~= last or #entries == MOST_FOREIGN then return true end
  for i = 2, #entries do
    if epoch_of(entries[i]) == epoch then return true end
  end
  return false
end

local lost = is_lost()
if lost then
  epoch = ARGV[2]
  redis.call('DEL', KEYS[1])
end
local seqs = {}
for i = 1, topics do seqs[known[1 + 2 * i]] = lost and 0 or tonumber(kept[i + 2] or 0) end

local keep = tail + unstored + batch
local latest = {}
local answer = {0, epoch}
for i = 9, #ARGV, 5 do
  local topic = ARGV[i]
  local seq = seqs[topic] + 1
  local text = string.format('%d', seq)
  local body = ARGV[i + 1] .. ',"seq":' .. text .. ',"epoch":"' .. epoch .. '"}'
  if not has_stream then
    last = nil
  elseif ARGV[i + 4] == '' then
    last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', 'topic', topic, 'seq', text, 'epoch', epoch, 'body', body,
      'source', ARGV[i + 2], 'volume', ARGV[i + 3])
  else
    last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', 'topic', topic, 'seq', text, 'epoch', epoch, 'body', body,
      'source', ARGV[i + 2], 'volume', ARGV[i + 3], 'occurrence', ARGV[i + 4])
  end
  redis.call('PUBLISH', channel, body)
  seqs[topic], latest[topic] = seq, body
  answer[#answer + 1] = seq
end

local numbers, bodies = {}, {}
for i = 1, topics do
  local topic = known[1 + 2 * i]
  numbers[2 * i - 1], numbers[2 * i] = fields[i + 2], string.format('%d', seqs[topic])
  bodies[2 * i - 1], bodies[2 * i] = topic, latest[topic]
end
if lost then
  numbers[#numbers + 1] = 'epoch'
  numbers[#numbers + 1] = epoch
end
if last then
  numbers[#numbers + 1] = 'last|' .. channel
  numbers[#numbers + 1] = last
end
redis.call('HSET', KEYS[1], unpack(numbers))
if ARGV[5] == '1' then redis.call('HSET', KEYS[3], unpack(bodies)) end
if limit > 0 then redis.call('HINCRBY', KEYS[4], 'published', batch) end
if number ~= '' then
  table.remove(answer, 1)
  redis.call('SET', KEYS[5], cmsgpack.pack(number, answer), 'EX', ARGV[7])
  table.insert(answer, 1, 0)
end
return answer
