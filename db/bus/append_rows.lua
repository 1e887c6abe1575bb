-- Append rows of books to their stream, for the store only, one entry each. They have no `seq` and
-- are not published. The stream is trimmed behind the rows that are stored.
--
-- KEYS  1 stream   2 count hash
-- ARGV  1 limit: maximum of unstored rows   then for each row: its table, its text
--
-- Returns 1, or nil if there is no room: then nothing was done.
local limit, rows = tonumber(ARGV[1]), (#ARGV - 1) / 2
local counts = redis.call('HMGET', KEYS[2], 'published', 'stored')
local published, stored = tonumber(counts[1]), tonumber(counts[2] or 0)
if not published or not stored then
  -- The counts are lost. Count every entry as unstored, so that none is trimmed too early; the
  -- writer corrects it.
  published, stored = redis.call('XLEN', KEYS[1]), 0
  redis.call('HSET', KEYS[2], 'published', published, 'stored', stored)
end
local unstored = math.max(0, published - stored)
if unstored + rows > limit then unstored = math.min(unstored, redis.call('XLEN', KEYS[1])) end
if unstored + rows > limit then return nil end
for i = 2, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', unstored + rows, '*', 'table', ARGV[i], 'row', ARGV[i + 1])
end
redis.call('HINCRBY', KEYS[2], 'published', rows)
return 1
