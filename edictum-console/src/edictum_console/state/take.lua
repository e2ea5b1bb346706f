-- The moving window of MemoryRateLimits, inside Redis and by its clock.
-- KEYS: the counters, of which one may be there several times; what is asked for is done one after the other.
-- ARGV: the number of parts, then for each key the limit, the length of a part in milliseconds, and the cost.
-- A negative cost gives back what was taken, from the newest part.
-- Returns for each key the milliseconds until it may happen; 0 if it may, and was counted.
local parts = tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function take(key, limit, length, cost)
  local part = math.floor(now / length)
  local counts, numbers, sum = {}, {}, 0
  local stored = redis.call('HGETALL', key)
  for i = 1, #stored, 2 do
    local number = tonumber(stored[i])
    if number < part - parts then
      redis.call('HDEL', key, stored[i])
    else
      numbers[#numbers + 1] = number
      counts[number] = tonumber(stored[i + 1])
      sum = sum + counts[number]
    end
  end

  table.sort(numbers)
  if cost < 0 then
    if #numbers > 0 then redis.call('HINCRBY', key, string.format('%.0f', numbers[#numbers]), cost) end
    return 0
  end
  local excess = sum + cost - limit
  for _, number in ipairs(numbers) do
    if excess <= 0 then break end
    excess = excess - counts[number]
    if excess <= 0 then return (number + parts + 1) * length - now end
  end
  redis.call('HINCRBY', key, string.format('%.0f', part), cost)
  redis.call('PEXPIRE', key, length * (parts + 1))
  return 0
end

local waits = {}
for i, key in ipairs(KEYS) do
  waits[i] = take(key, tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]))
end
return waits
