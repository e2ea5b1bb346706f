-- The sequential model of operations.py, inside Redis: several requests one after the other, of each all operations or
-- none.
-- KEYS: for each request its keys, each once, and after them, where it is to be done once, what holds its answer.
-- ARGV: the lifetime of an answer and the usual one of a value in milliseconds; then for each request the number of its
-- keys, the number of its operations, a digest or nothing, and four words for each operation: its kind, the number of
-- its key, and two arguments.
-- Returns for each request {1, value or false, 0 or 1, ...}; or, where an increment would pass its maximum, {0, where in
-- the list it stands, present value or false, ...} by key; or {kind of error}; {'failed', text} where Redis refused a
-- command.
local LARGEST = 9007199254740992

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

-- Do one request: its keys, what holds its answer or nil, its digest, and where its operations stand in ARGV.
local function apply(keys, once, digest, first_word, last_word)
  if once then
    local kept = redis.call('GET', once)
    if kept then
      if string.sub(kept, 1, #digest) ~= digest then return {'reused'} end
      return cjson.decode(string.sub(kept, #digest + 1))
    end
  end

  local function keep(answer)
    if once then redis.call('SET', once, digest .. cjson.encode(answer), 'PX', ARGV[1]) end
    return answer
  end

  local present, writes, lifetimes = {}, {}, {}
  local found = redis.call('MGET', unpack(keys))
  for i = 1, #keys do present[i] = found[i] end

  local function write(i, value, lifetime)
    present[i], writes[i], lifetimes[i] = value, true, lifetime
  end

  local answer = {1}
  for at = first_word, last_word, 4 do
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
        answer = {0, (at - first_word) / 4}
        for j = 1, #keys do answer[j + 2] = found[j] end
        return keep(answer)
      end
      write(i, text_of(number))
    end
    answer[#answer + 1] = present[i]
    answer[#answer + 1] = done
  end

  for i in pairs(writes) do
    if present[i] then
      redis.call('SET', keys[i], present[i], 'PX', lifetimes[i] or ARGV[2])
    else
      redis.call('DEL', keys[i])
    end
  end
  return keep(answer)
end

local answers, key, word = {}, 1, 3
while word <= #ARGV do
  local keys, number, digest = {}, tonumber(ARGV[word]), ARGV[word + 2]
  for i = 1, number do keys[i] = KEYS[key + i - 1] end
  key = key + number
  local once = nil
  if digest ~= '' then
    once = KEYS[key]
    key = key + 1
  end
  local last = word + 2 + 4 * tonumber(ARGV[word + 1])
  -- What fails in one request must not end the script, because those before it are done.
  local done, answer = pcall(apply, keys, once, digest, word + 3, last)
  if not done then answer = {'failed', type(answer) == 'table' and answer.err or tostring(answer)} end
  answers[#answers + 1] = answer
  word = last + 1
end
return answers
