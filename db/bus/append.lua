-- Append one batch of trades to their stream, for the store only. Trades have no `seq` and are not
-- published. `admitted` marks an entry of which every trade was checked.
--
-- KEYS  1 stream   2 count hash   3 receipt   4 fence, only with argument 6: duty -> highest number
-- ARGV  1 limit: maximum of unstored trades   2 number of the batch with its publisher
--       3 lifetime of the receipt in seconds   4 number of trades   5 their lines
--       6 '' for no fence, or JSON: [duty, its number]   7 '' or the minutes of the trades
--
-- Returns 1, also if this batch was appended before, nil if there is no room, or the error
-- FENCED NUMBER if the duty has a higher number: then nothing was done.
if redis.call('GET', KEYS[3]) == ARGV[2] then return 1 end
if ARGV[6] ~= '' then
  local fence = cjson.decode(ARGV[6])
  local highest = tonumber(redis.call('HGET', KEYS[4], fence[1]) or 0) or 0
  if highest > fence[2] then return redis.error_reply('FENCED ' .. string.format('%d', highest)) end
  if highest < fence[2] then redis.call('HSET', KEYS[4], fence[1], string.format('%d', fence[2])) end
end
local counts = redis.call('HMGET', KEYS[2], 'published', 'stored')
local published, stored = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
if not published or not stored then
  -- The counts cannot be read. The writer corrects them.
  published, stored = 0, 0
  redis.call('DEL', KEYS[2])
end
-- An empty stream has no unstored trades, whatever the counts are.
if published - stored + tonumber(ARGV[4]) > tonumber(ARGV[1]) and redis.call('XLEN', KEYS[1]) > 0 then return nil end
local fields = {'trades', ARGV[4], 'lines', ARGV[5], 'admitted', '1'}
if ARGV[7] ~= '' then
  fields[7], fields[8] = 'marks', ARGV[7]
end
redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('HINCRBY', KEYS[2], 'published', ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
return 1
