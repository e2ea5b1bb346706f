-- Let members count for some time from now, by the clock of this server.
-- KEYS[1]: the set; ARGV[1]: milliseconds; the rest: members.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
return #ARGV - 1
