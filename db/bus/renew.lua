-- Begin a new epoch if the present one is `seen`, in which data were lost. Every counter begins
-- again at 1.
--
-- KEYS  1 numbers      ARGV  1 seen   2 epoch to begin
--
-- Returns the present epoch, or nil if there is none: then the next message begins one.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch ~= ARGV[1] then return epoch end
local owner = redis.call('HGET', KEYS[1], 'owner')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
if owner then redis.call('HSET', KEYS[1], 'owner', owner) end
return ARGV[2]
