"""What runs inside Redis: one script a verb, so that each is atomic. `redis.py` calls them.

Keys, all in the one hash slot of their tag:

    c:KEY    hash of a calendar counter: s spent, r reserved, e the server it was seeded on, and l:LEASE what each holds
    n:KEY    hash of what runs now: r, and l:LEASE
    b:KEY    hash of a bucket: u what has not refilled at the time t (microseconds); gone when it is full
    l:LEASE  hash: counter's key -> "kind unit hard limit reserved"; the field "" is always there
    t:LEASE  string, for a minute after it was settled: "1" (it was known) or "0", then " unit amount" ...
    leases   sorted set: lease -> when it expires (milliseconds)
    server   the run id of the server that counts

Settling finds its counters in the lease, so it touches keys that were not declared; they are in the declared keys'
slot. Money is kept in the server's 64-bit integers and compared in two parts, since a Lua number is exact only to
2^53, which is nine million dollars. Times are the server's: no process's clock matters.
"""

from __future__ import annotations

from hashlib import sha1

_COMMON = """
local FILL, FUZZ = 60000000, 1e-6

local function micros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- the server that counts now, as far as is known
local function server(key) return redis.call('GET', key) or '' end

local function minus(x) if x == '0' then return x end return '-' .. x end

-- whether the sum of decimal strings is at most `amount`; above nine billion dollars nothing fits
local function fits(amount, ...)
  local high, low = 0, 0
  for _, x in ipairs({...}) do
    high = high + (tonumber(x:sub(1, -10)) or 0)
    low = low + tonumber(x:sub(-9))
  end
  high, low = high + math.floor(low / 1e9), low % 1e9
  if high >= 9e9 then return false, true end
  local top = tonumber(amount:sub(1, -10)) or 0
  return high < top or (high == top and low <= tonumber(amount:sub(-9)))
end

-- spent and reserved of a counter as strings; false: not known
local function look(key, kind, limit, now, run)
  if kind == 'b' then
    local used, at = unpack(redis.call('HMGET', key, 'u', 't'))
    if not used then return '0', '0' end
    if at + 0 > now then
      -- the server's clock was put back: nothing refills twice, and nobody waits for the old time to come again
      redis.call('HSET', key, 't', string.format('%.0f', now))
      at = now
    end
    return string.format('%.17g', math.max(0, used - (now - at) * limit / FILL)), '0'
  end
  if kind == 'n' then return '0', redis.call('HGET', key, 'r') or '0' end
  local spent, reserved, seeded = unpack(redis.call('HMGET', key, 's', 'r', 'e'))
  if seeded ~= run then return false end
  return spent, reserved
end

-- soft limits have room, but for what the counters cannot hold
local function room(ask, want)
  if ask.kind == 'b' then return ask.hard ~= '1' or ask.spent + want <= ask.limit + FUZZ end
  local fit, absurd = fits(ask.limit, ask.spent, ask.reserved, want)
  return fit or (ask.hard ~= '1' and not absurd)
end

local function fill(ask, used, now)
  local full = ask.limit + 0 > 0 and used * FILL / ask.limit or FILL
  redis.call('HSET', ask.key, 'u', string.format('%.17g', used), 't', string.format('%.0f', now))
  redis.call('PEXPIRE', ask.key, string.format('%.0f', math.min(full / 1000 + 1000, 1e12)))
end

local function hold(ask, id, want, now)
  if ask.kind == 'b' then
    ask.spent = string.format('%.17g', ask.spent + want)
    fill(ask, ask.spent + 0, now)
  else
    redis.call('HINCRBY', ask.key, 'r', want)
    redis.call('HINCRBY', ask.key, 'l:' .. id, want)
    ask.reserved = redis.call('HGET', ask.key, 'r')
  end
end

local function item(ask, reserved)
  return table.concat({ask.kind, ask.unit, ask.hard, ask.limit, reserved}, ' ')
end

-- the asks that a lease was made of
local function items(lease)
  local fields, found = redis.call('HGETALL', lease), {}
  for i = 1, #fields, 2 do
    if fields[i] ~= '' then
      local kind, unit, hard, limit, reserved = fields[i + 1]:match('(%S+) (%S+) (%S+) (%S+) (%S+)')
      found[#found + 1] = {key = fields[i], kind = kind, unit = unit, hard = hard, limit = limit, want = reserved}
    end
  end
  return found, #fields > 0
end

local function pairs_of(from)
  local found = {}
  for i = from, #ARGV, 2 do found[ARGV[i]] = ARGV[i + 1] end
  return found
end
"""

_ASKS = """
-- KEYS from `first`, and ARGV kind, unit, hard, limit, wanted of each
local function asked(first, argument, now, run)
  local asks, unseeded = {}, {}
  for i = first, #KEYS do
    local a = argument + (i - first) * 5
    local ask = {key = KEYS[i], kind = ARGV[a], unit = ARGV[a + 1], hard = ARGV[a + 2], limit = ARGV[a + 3],
                 want = ARGV[a + 4]}
    ask.spent, ask.reserved = look(ask.key, ask.kind, ask.limit, now, run)
    if not ask.spent then unseeded[#unseeded + 1] = i - first end
    asks[#asks + 1] = ask
  end
  return asks, unseeded
end
"""

MEET = """
local info = redis.call('INFO')
local run = info:match('run_id:(%w+)') or ''
if redis.call('GET', KEYS[1]) ~= run then redis.call('SET', KEYS[1], run) end
return {info:match('redis_version:(%S+)') or '', info:match('maxmemory_policy:(%S+)') or ''}
"""

# KEYS lease, tombstone, leases, server, counters ...; ARGV lease, milliseconds to live, asks ...
RESERVE = (
    _COMMON
    + _ASKS
    + """
local id, now = ARGV[1], micros()
local asks, unseeded = asked(5, 3, now, server(KEYS[4]))
if #unseeded > 0 then return {'unseeded', unpack(unseeded)} end
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
  for i, ask in ipairs(asks) do
    if not room(ask, ask.want) then return {'denied', i - 1, ask.spent, ask.reserved} end
  end
  local record = {'', ''}
  for _, ask in ipairs(asks) do
    hold(ask, id, ask.want, now)
    record[#record + 1] = ask.key
    record[#record + 1] = item(ask, ask.want)
  end
  redis.call('HSET', KEYS[1], unpack(record))
  redis.call('ZADD', KEYS[3], string.format('%.0f', now / 1000 + ARGV[2]), id)
end
local answer = {'granted'}
for _, ask in ipairs(asks) do
  answer[#answer + 1] = ask.spent
  answer[#answer + 1] = ask.reserved
end
return answer
"""
)

# KEYS lease, server; ARGV lease, unit, more ...
GROW = (
    _COMMON
    + """
local id, now, run, more = ARGV[1], micros(), server(KEYS[2]), pairs_of(2)
local asks, known = items(KEYS[1])
if not known then return 0 end
local growing = {}
for _, ask in ipairs(asks) do
  local want = more[ask.unit]
  if want then
    ask.spent, ask.reserved = look(ask.key, ask.kind, ask.limit, now, run)
    local here = ask.spent and (ask.kind == 'b' or redis.call('HEXISTS', ask.key, 'l:' .. id) == 1)
    if here and not room(ask, want) or not here and ask.hard == '1' then return 0 end
    if here then growing[#growing + 1] = ask end
  end
end
for _, ask in ipairs(growing) do
  local want = more[ask.unit]
  hold(ask, id, want, now)
  redis.call('HSET', KEYS[1], ask.key, item(ask, string.format('%.0f', ask.want + want)))
end
return 1
"""
)

# KEYS lease, tombstone, leases; ARGV lease, milliseconds to remember it, unit, used ...
SETTLE = (
    _COMMON
    + """
local past = redis.call('GET', KEYS[2])
if past then return tonumber(past:sub(1, 1)) end
local id, now, used = ARGV[1], micros(), pairs_of(3)
local asks, known = items(KEYS[1])
for _, ask in ipairs(asks) do
  local actual = used[ask.unit] or '0'
  if ask.kind == 'b' then
    local level = look(ask.key, 'b', ask.limit, now)
    fill(ask, math.max(0, level + actual - ask.want), now)
  else
    local held = redis.call('HGET', ask.key, 'l:' .. id)
    if held then
      redis.call('HDEL', ask.key, 'l:' .. id)
      redis.call('HINCRBY', ask.key, 'r', minus(held))
      if ask.kind == 'c' then
        redis.call('HINCRBY', ask.key, 's', actual)
      elseif redis.call('HLEN', ask.key) == 1 then
        redis.call('DEL', ask.key)
      end
    elseif ask.kind == 'c' then
      -- seeded since, from a ledger that did not count this lease as open: whether its cost is in there cannot be told
      redis.call('DEL', ask.key)
    end
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], id)
local record = {known and '1' or '0'}
for i = 3, #ARGV do record[#record + 1] = ARGV[i] end
redis.call('SET', KEYS[2], table.concat(record, ' '), 'PX', ARGV[2])
return known and 1 or 0
"""
)

# KEYS counters ...
FORGET = """
return redis.call('UNLINK', unpack(KEYS))
"""

# KEYS leases; ARGV milliseconds to live, lease ...
RENEW = (
    _COMMON
    + """
local expires = string.format('%.0f', micros() / 1000 + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', expires, ARGV[i]) end
return 1
"""
)

# KEYS leases; ARGV how many
EXPIRED = (
    _COMMON
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', micros() / 1000), 'LIMIT', 0, ARGV[1])
"""
)

# KEYS counter, leases, server, then lease and tombstone of each open one; ARGV spent, milliseconds that the counter
# lives, milliseconds that a lease lives, unit, hard, limit, then lease and amount of each open one
SEED = (
    _COMMON
    + """
local key, run = KEYS[1], server(KEYS[3])
local ask = {key = key, kind = 'c', unit = ARGV[4], hard = ARGV[5], limit = ARGV[6]}
if look(key, 'c', ask.limit, 0, run) then return 0 end
local expires = string.format('%.0f', micros() / 1000 + ARGV[3])
redis.call('DEL', key)
redis.call('HSET', key, 's', ARGV[1], 'r', '0', 'e', run)
for i = 4, #KEYS, 2 do
  local id, amount = ARGV[3 + i], ARGV[4 + i]
  local past = redis.call('GET', KEYS[i + 1])
  if past then
    redis.call('HINCRBY', key, 's', past:match(' ' .. ask.unit .. ' (%d+)') or '0')
  else
    hold(ask, id, amount, 0)
    redis.call('HSETNX', KEYS[i], '', '')
    redis.call('HSETNX', KEYS[i], key, item(ask, amount))
    redis.call('ZADD', KEYS[2], 'NX', expires, id)
  end
end
redis.call('PEXPIRE', key, ARGV[2])
return 1
"""
)

# KEYS server, counters ...; ARGV as of RESERVE's asks
READ = (
    _COMMON
    + _ASKS
    + """
local answer = {}
for _, ask in ipairs(asked(2, 1, micros(), server(KEYS[1]))) do
  local known = ask.spent and (ask.kind == 'c' or redis.call('EXISTS', ask.key) == 1)
  answer[#answer + 1] = known and ask.spent or ''
  answer[#answer + 1] = known and ask.reserved or ''
end
return answer
"""
)


def digest(script: str) -> str:
    """The name by which a server knows a script that it has run."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
