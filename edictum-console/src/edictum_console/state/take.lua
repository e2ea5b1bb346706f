-- The moving window of MemoryRateLimits, inside Redis and by its clock.
-- KEYS: the counter.  ARGV: the limit, the length of a part in milliseconds, the number of parts, the cost.
-- A negative cost gives back what was taken, from the newest part.
-- Returns the milliseconds until it may happen; 0 if it may, and was counted.
local limit, length, parts, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local part = math.floor(now / length)

local counts, numbers, sum = {}, {}, 0
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local number = tonumber(stored[i])
  if number < part - parts then
    redis.call('HDEL', KEYS[1], stored[i])
  else
    numbers[#numbers + 1] = number
    counts[number] = tonumber(stored[i + 1])
    sum = sum + counts[number]
  end
end

table.sort(numbers)
if cost < 0 then
  if #numbers > 0 then redis.call('HINCRBY', KEYS[1], string.format('%.0f', numbers[#numbers]), cost) end
  return 0
end
local excess = sum + cost - limit
for _, number in ipairs(numbers) do
  if excess <= 0 then break end
  excess = excess - counts[number]
  if excess <= 0 then return (number + parts + 1) * length - now end
end
redis.call('HINCRBY', KEYS[1], string.format('%.0f', part), cost)
redis.call('PEXPIRE', KEYS[1], length * (parts + 1))
return 0
