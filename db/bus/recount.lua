-- Correct the counts of a stored stream: an entry is unstored if the group has not read it, or has
-- not acknowledged it.
--
-- At most ARGV[3] unread entries are looked at. If there are more, the counts are corrected only if
-- they are impossible.
--
-- KEYS  1 stream   2 count hash
-- ARGV  1 group   2 field with the number of records of an entry ('': one each)
--       3 maximum of unread entries to look at   4 entries to read at once
--
-- Returns {unstored before, unstored now} if the counts were wrong, else nil.
local weight_field = ARGV[2]
local function weight(fields)
  if weight_field == '' then return 1 end
  for i = 1, #fields, 2 do
    if fields[i] == weight_field then return math.max(0, math.floor(tonumber(fields[i + 1]) or 0)) end
  end
  return 0
end

local read, waiting = '0-0', 0
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])  -- an error if the stream does not exist
for i = 1, #groups do
  local group = {}
  for j = 1, #groups[i], 2 do group[groups[i][j]] = groups[i][j + 1] end
  if group.name == ARGV[1] then read, waiting = group['last-delivered-id'], group.pending end
end

local unstored = waiting
if weight_field ~= '' and waiting > 0 then
  unstored = 0
  for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3])) do
    local entry = redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
    if entry then unstored = unstored + weight(entry[2]) end
  end
end

local looked, complete = 0, false
while looked < tonumber(ARGV[3]) and not complete do
  local entries = redis.call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', ARGV[4])
  for _, entry in ipairs(entries) do unstored = unstored + weight(entry[2]) end
  looked = looked + #entries
  complete = #entries < tonumber(ARGV[4])
  if #entries > 0 then read = entries[#entries][1] end
end

local counts = redis.pcall('HMGET', KEYS[2], 'published', 'stored')
local published, stored = tonumber(counts[1]), tonumber(counts[2] or 0)
local counted = published and stored and published - stored
if not complete then
  local length = redis.call('XLEN', KEYS[1])
  if counted and counted >= unstored and (weight_field ~= '' or counted <= length) then return nil end
  if weight_field == '' then unstored = length end
end
if counted == unstored then return nil end
published = math.max(published or 0, unstored)
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'published', published, 'stored', published - unstored)
if (counted or 0) == unstored then return nil end
return {counted or 0, unstored}
