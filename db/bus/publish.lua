-- Publish a batch on one channel, in one atomic step for the whole batch.
--
-- A new epoch begins, before a number is given, if the numbers and the stream do not belong
-- together any more: Redis has lost data, or it went back in time. It also begins if another server
-- owns the numbers: that one may have given numbers that this server never received.
--
-- KEYS  1 numbers: `epoch`, `owner`, a counter CHANNEL|TOPIC per topic, `last|CHANNEL` (id of the
--         last entry)
--       2 stream   3 latest hash   4 count hash   5 receipt
--       6 fence, only with argument 10: duty -> highest number
--       7 shard channel, only with argument 12
--       then, only if duplicates are left out, per topic: sorted set of the digests of its
--       messages, with the time of their publish
-- ARGV  1 channel
--       2 epoch to begin if the numbers are lost
--       3 tail: entries the stream keeps beyond the unstored ones; with limit 0: 0 for no stream
--       4 limit: maximum of unstored entries (0: the channel is not stored)
--       5 '1' to keep the latest message per topic
--       6 number of the batch with its publisher ('': no receipt)
--       7 lifetime of the receipt in seconds
--       8 JSON: [epoch in which the publisher got its last numbers ('': none), its earlier epochs
--         joined by blanks, then for each topic: its name, the last number the publisher got]
--       9 '' to publish duplicates, or JSON: [now in ms, age in ms up to which a digest counts,
--         maximum of digests per topic, then for each message: its digest ('': never a duplicate)]
--      10 '' for no fence, or JSON: [duty, its number]
--      11 owner of the numbers: 'myid' for the id of this node of a cluster, another name of this
--         server, or '' if no other server ever takes its place
--      12 '' to publish on the channel, 'sharded' on the shard channel, 'both' on both
--       then for each message: topic, body without its closing brace, source, volume,
--       occurrence ('': 1, which the entry does not carry)
--       If the channel has no stream, the message of a topic may have two bodies. Then the five
--       are: topic, the text up to the closing brace of the first body, the text from there up to
--       the closing brace of the second body ('': one body), the rest of the text, ''. Both bodies
--       get the same `seq` and `epoch`.
--
-- Returns {repeated (0 or 1), epoch, seq, seq, …}, or {} if the batch does not fit, or the error
-- FENCED NUMBER if the duty has a higher number: then nothing was published. The seq of a duplicate
-- is 0. If all messages are duplicates, the epoch is ''.
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

if ARGV[10] ~= '' then
  local fence = cjson.decode(ARGV[10])
  local highest = tonumber(redis.call('HGET', KEYS[6], fence[1]) or 0) or 0
  if highest > fence[2] then return redis.error_reply('FENCED ' .. string.format('%d', highest)) end
  if highest < fence[2] then redis.call('HSET', KEYS[6], fence[1], string.format('%d', fence[2])) end
end

local owner, owned = ARGV[11], true
if owner == 'myid' then owner = redis.call('CLUSTER', 'MYID') end
if owner ~= '' then
  local stored = redis.call('HGET', KEYS[1], 'owner')
  owned = not stored or stored == owner
  if not stored then redis.call('HSET', KEYS[1], 'owner', owner) end
end

local known = cjson.decode(ARGV[8])
local topics = (#known - 2) / 2
local function seen_key(i) return KEYS[#KEYS - topics + i] end
local batch = (#ARGV - 12) / 5
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

-- True if the latest message of a topic has a number of this epoch above the topic's counter. A
-- publisher that got the counter's number itself needs no proof.
local function is_behind_latest()
  for i = 1, topics do
    local counter = tonumber(kept[i + 2] or 0)
    if epoch ~= known[1] or counter == 0 or counter ~= known[2 + 2 * i] then
      local message = redis.call('HGET', KEYS[3], known[1 + 2 * i])
      local seq, begun = string.match(message or '', '.*,"seq":(%d+),"epoch":"(%w+)"}')
      if begun == epoch and tonumber(seq) > counter then return true end
    end
  end
  return false
end

local function is_lost()
  if not epoch or not owned then return true end
  if epoch ~= known[1] and (not string.find(epoch, '^%w+$') or string.find(known[2], epoch, 1, true)) then return true end
  for i = 1, topics do
    local counter = tonumber(kept[i + 2] or 0)
    if not counter or (epoch == known[1] and counter < known[2 + 2 * i]) then return true end
  end
  if not has_stream then return ARGV[5] == '1' and is_behind_latest() end
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

-- Duplicates: `duplicate` has the places in ARGV of the messages that are left out, `fresh` the
-- digests to keep per topic. After a loss of data no digest counts, because its message may be lost
-- too. Nothing is written before this, so that an error here changes nothing.
local duplicate, fresh, seen = {}, {}, nil
if ARGV[9] ~= '' then
  seen = cjson.decode(ARGV[9])
  local digests, positions = {}, {}
  for i = 1, topics do
    local topic = known[1 + 2 * i]
    digests[topic], positions[topic], fresh[topic] = {}, {}, {}
  end
  for i = 13, #ARGV, 5 do
    local topic, digest = ARGV[i], seen[(i + 7) / 5]
    if digest ~= '' then
      local n = #digests[topic] + 1
      digests[topic][n], positions[topic][n] = digest, i
    end
  end
  for i = 1, topics do
    local topic = known[1 + 2 * i]
    if #digests[topic] > 0 then
      local scores = redis.call('ZMSCORE', seen_key(i), unpack(digests[topic]))
      local taken = {}
      for n, digest in ipairs(digests[topic]) do
        if taken[digest] or (not lost and scores[n] and tonumber(scores[n]) > seen[1] - seen[2]) then
          duplicate[positions[topic][n]] = true
          batch = batch - 1
        else
          taken[digest] = true
          table.insert(fresh[topic], string.format('%d', seen[1]))
          table.insert(fresh[topic], digest)
        end
      end
    end
  end
  if batch == 0 then
    local none = {0, ''}
    for i = 1, #seen - 3 do none[2 + i] = 0 end
    return none
  end
end

if lost then
  epoch = ARGV[2]
  redis.call('DEL', KEYS[1])
end
local seqs = {}
for i = 1, topics do seqs[known[1 + 2 * i]] = lost and 0 or tonumber(kept[i + 2] or 0) end

local keep = tail + unstored + batch
local latest = {}
local answer = {0, epoch}
for i = 13, #ARGV, 5 do
  if duplicate[i] then
    answer[#answer + 1] = 0
  else
    local topic = ARGV[i]
    local seq = seqs[topic] + 1
    local text = string.format('%d', seq)
    local position = ',"seq":' .. text .. ',"epoch":"' .. epoch .. '"}'
    local body = ARGV[i + 1] .. position
    if not has_stream then
      last = nil
      if ARGV[i + 2] ~= '' then body = body .. ARGV[i + 2] .. position end
      body = body .. ARGV[i + 3]
    elseif ARGV[i + 4] == '' then
      last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', 'topic', topic, 'seq', text, 'epoch', epoch, 'body', body,
        'source', ARGV[i + 2], 'volume', ARGV[i + 3])
    else
      last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', 'topic', topic, 'seq', text, 'epoch', epoch, 'body', body,
        'source', ARGV[i + 2], 'volume', ARGV[i + 3], 'occurrence', ARGV[i + 4])
    end
    if ARGV[12] ~= '' then redis.call('SPUBLISH', KEYS[7], body) end
    if ARGV[12] ~= 'sharded' then redis.call('PUBLISH', channel, body) end
    seqs[topic], latest[topic] = seq, body
    answer[#answer + 1] = seq
  end
end

local numbers, bodies = {}, {}
for i = 1, topics do
  local topic = known[1 + 2 * i]
  if latest[topic] then
    local n = #bodies
    numbers[n + 1], numbers[n + 2] = fields[i + 2], string.format('%d', seqs[topic])
    bodies[n + 1], bodies[n + 2] = topic, latest[topic]
  end
end
if lost then
  numbers[#numbers + 1] = 'epoch'
  numbers[#numbers + 1] = epoch
  if owner ~= '' then
    numbers[#numbers + 1] = 'owner'
    numbers[#numbers + 1] = owner
  end
end
if last then
  numbers[#numbers + 1] = 'last|' .. channel
  numbers[#numbers + 1] = last
end
redis.call('HSET', KEYS[1], unpack(numbers))
if ARGV[5] == '1' then redis.call('HSET', KEYS[3], unpack(bodies)) end
if limit > 0 then redis.call('HINCRBY', KEYS[4], 'published', batch) end
for i = 1, topics do
  local digests = fresh[known[1 + 2 * i]]
  if digests and #digests > 0 then
    redis.call('ZREMRANGEBYSCORE', seen_key(i), '-inf', string.format('%d', seen[1] - seen[2]))
    redis.call('ZADD', seen_key(i), unpack(digests))
    redis.call('ZREMRANGEBYRANK', seen_key(i), 0, -seen[3] - 1)
    redis.call('PEXPIRE', seen_key(i), seen[2])
  end
end
if number ~= '' then
  table.remove(answer, 1)
  redis.call('SET', KEYS[5], cmsgpack.pack(number, answer), 'EX', ARGV[7])
  table.insert(answer, 1, 0)
end
return answer
