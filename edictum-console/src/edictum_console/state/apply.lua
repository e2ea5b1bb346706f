-- The sequential model of operations.py, inside Redis: all operations of a list or none.
-- KEYS: the keys, each once.  ARGV: a digest or nothing, the lifetime of an answer and the usual one of a value in
-- milliseconds, then four words for each operation: its kind, the number of its key, and two arguments.
-- Where the first of those is not empty, it is the digest of a request that is done once, and the last of the KEYS
-- holds its answer.
-- Returns {1, value or false, 0 or 1, ...}; or, where an increment would pass its maximum, {0, where in the list it
-- stands, present value or false, ...} by key; or {kind of error}.
local LARGEST = 9007199254740992

local once, digest = nil, ARGV[1]
if digest ~= '' then
  once = table.remove(KEYS)
  local kept = redis.call('GET', once)
  if kept then
    if string.sub(kept, 1, #digest) ~= digest then return {'reused'} end
    return cjson.decode(string.sub(kept, #digest + 1))
  end
end

local function keep(answer)
  if once then redis.call('SET', once, digest .. cjson.encode(answer), 'PX', ARGV[2]) end
  return answer
end

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
for at = 4, #ARGV, 4 do
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
      answer = {0, (at - 4) / 4}
      for j = 1, #KEYS do answer[j + 2] = found[j] end
      return keep(answer)
    end
    write(i, text_of(number))
  end
  answer[#answer + 1] = present[i]
  answer[#answer + 1] = done
end

for i in pairs(writes) do
  if present[i] then
    redis.call('SET', KEYS[i], present[i], 'PX', lifetimes[i] or ARGV[3])
  else
    redis.call('DEL', KEYS[i])
  end
end
return keep(answer)
