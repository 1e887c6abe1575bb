-- Append one batch of trades to their stream, for the store only. Trades have no `seq` and are not
-- published. `admitted` marks an entry of which every trade was checked.
--
-- KEYS  1 stream   2 count hash   3 receipt
-- ARGV  1 limit: maximum of unstored trades   2 number of the batch with its publisher
--       3 lifetime of the receipt in seconds   4 number of trades   5 their lines
--
-- Returns 1, also if this batch was appended before, or nil if there is no room: then nothing was
-- done.
if redis.call('GET', KEYS[3]) == ARGV[2] then return 1 end
local counts = redis.call('HMGET', KEYS[2], 'published', 'stored')
local published, stored = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
if not published or not stored then
  -- The counts cannot be read. The writer corrects them.
  published, stored = 0, 0
  redis.call('DEL', KEYS[2])
end
-- An empty stream has no unstored trades, whatever the counts are.
if published - stored + tonumber(ARGV[4]) > tonumber(ARGV[1]) and redis.call('XLEN', KEYS[1]) > 0 then return nil end
redis.call('XADD', KEYS[1], '*', 'trades', ARGV[4], 'lines', ARGV[5], 'admitted', '1')
redis.call('HINCRBY', KEYS[2], 'published', ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
return 1
