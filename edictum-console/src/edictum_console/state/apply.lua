-- The sequential model of operations.py, inside Redis: all operations of a list or none.
-- KEYS: the keys, each once.  ARGV: the usual lifetime in milliseconds, then four words for each operation:
-- its kind, the number of its key, and two arguments.
-- Returns {1, value or false, 0 or 1, ...}, or {0, present value or false, ...} by key, or {kind of error}.
local LARGEST = 9007199254740992

local present, writes, lifetimes = {}, {}, {}
local found = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do present[i] = found[i] end

local function number_of(text)
  if not text then return 0 end
  if not string.match(text, '^%-?%d+%.?%d*[eE]?[+-]?%d*$') then return nil end
  return tonumber(text)
end

local function text_of(number)
  if number == math.floor(number) then return string.format('%.0f', number) end
  for digits = 15, 17 do
    local text = string.format('%.' .. digits .. 'g', number)
    if tonumber(text) == number then return text end
  end
end

local function write(i, value, lifetime)
  present[i], writes[i], lifetimes[i] = value, true, lifetime
end

local answer = {1}
for at = 2, #ARGV, 4 do
  local kind, i, first, second = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local done = 1
  if kind == 'put' then
    write(i, first, second ~= '' and second or nil)
  elseif kind == 'delete' then
    done = present[i] and 1 or 0
    write(i, false)
  elseif kind == 'compare' then
    local expected = string.sub(first, 1, 1) == '1' and string.sub(first, 2) or false
    if present[i] == expected then write(i, second) else done = 0 end
  elseif kind == 'increment' then
    local number = number_of(present[i])
    if not number then return {'not_a_number'} end
    number = number + tonumber(first)
    if math.abs(number) >= LARGEST then return {'too_large'} end
    if second ~= '' and number > tonumber(second) then
      answer = {0}
      for j = 1, #KEYS do answer[j + 1] = found[j] end
      return answer
    end
    write(i, text_of(number))
  end
  answer[#answer + 1] = present[i]
  answer[#answer + 1] = done
end

for i in pairs(writes) do
  if present[i] then
    redis.call('SET', KEYS[i], present[i], 'PX', lifetimes[i] or ARGV[1])
  else
    redis.call('DEL', KEYS[i])
  end
end
return answer
