"""What Redis does in one step for the leases of a job.

All that is known of a job is one hash, so that Redis loses all of it or nothing when it evicts, expires or deletes
keys. Its fields:

    nonce     who began the job
    run       the run ID and the replication ID of the Redis server that has written this
    since     since when that server has the hash, without a gap, in milliseconds of its clock
    certain   the IDs of the server in whose memory every lease of the job is, from the very first; or absent
    resumed   whether the job was begun again, by another process
    shards    into how many shards the job is divided, in all its runs
    changes   how many changes there were: beginnings of the job, and leases that were taken, renewed or given back
    counter   names this count; another one since the server was restarted, or has lost the hash
    begun     the number of the change by which the job was last begun
    s:<name>  a shard: token of the holder (none once it was given back), end, ttl, whether the lease was fresh, the
              number of its last change; and of the holder before: that of its last change, and for how long it may
              have sent after it

A server that was restarted, or that took over from another one, has other IDs. What it knows may be old: a lease that
was taken since its last snapshot is missing there.

Changes are counted, and not dated, because the clock of a server can be set: a worker that has seen change 7, and later
finds that the last change of a shard was the fifth, knows by its own clock since when nothing has changed there.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function info(section, field)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, field .. ':(%w+)') or nil
end

local function run_id()
  -- A server that became a replica, and is the primary again, has the data of another, and its own run ID.
  local run, replication = info('server', 'run_id'), info('replication', 'master_replid')
  return run and replication and run .. replication or ''
end

local function shard_of(name)
  local value = redis.call('HGET', key, 's:' .. name)
  if not value then return nil end
  local token, ends, ttl, fresh, rest = string.match(value, '^(%w*):(%d+):(%d+):(%d)(.*)$')
  local change, before, tail = string.match(rest, '^:(%d+):(%d+):(%d+)$')
  return {
    token = token, ends = tonumber(ends), ttl = tonumber(ttl), fresh = tonumber(fresh),
    change = tonumber(change), before = tonumber(before), tail = tonumber(tail),
  }
end

local function store(name, shard)
  local value = string.format(
    '%s:%.0f:%.0f:%d:%.0f:%.0f:%.0f',
    shard.token, now + shard.ttl, shard.ttl, shard.fresh, shard.change, shard.before, shard.tail
  )
  redis.call('HSET', key, 's:' .. name, value)
end

local function changes()
  return tonumber(redis.call('HGET', key, 'changes') or nil) or 0
end

local function next_change()
  local change = changes() + 1
  redis.call('HSET', key, 'changes', string.format('%.0f', change))
  return change
end
"""

BEGIN: Final = (
    _COMMON
    + """
local run, known = run_id(), redis.call('EXISTS', key) == 1
local nonce = redis.call('HGET', key, 'nonce')
local function begun()
  redis.call('HSET', key, 'begun', string.format('%.0f', next_change()))
end
if not nonce then
  nonce = ARGV[1]
  redis.call('HSET', key, 'nonce', nonce)
  begun()
  if not known then
    redis.call('HSET', key, 'run', run, 'since', string.format('%.0f', now))
    -- This hash knows every lease of the job.
    if ARGV[2] == '1' and run ~= '' then redis.call('HSET', key, 'certain', run) end
  end
elseif nonce ~= ARGV[1] and nonce ~= ARGV[4] then
  -- Since the first beginning, rooms may have been created without a lease, or under that of another shard.
  redis.call('HSET', key, 'resumed', 1)
  begun()
end
redis.call('PEXPIRE', key, ARGV[3])
return {nonce, run ~= '' and 1 or 0}
"""
)

SHARDS: Final = """
redis.call('HSETNX', KEYS[1], 'shards', ARGV[1])
return tonumber(redis.call('HGET', KEYS[1], 'shards'))
"""

TAKE: Final = (
    _COMMON
    + """
local name, token, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local run = run_id()
local job = redis.call('HMGET', key, 'run', 'since', 'nonce', 'certain', 'resumed', 'counter', 'begun')
local since, counter, begun = tonumber(job[2] or nil), job[6], tonumber(job[7] or nil)
local is_same_server = run ~= '' and job[1] == run
if not is_same_server or not since or since > now then
  since = now
  redis.call('HSET', key, 'run', run, 'since', string.format('%.0f', now))
end
if not is_same_server or not counter then
  -- With each request, if the server does not say its run ID.
  counter = ARGV[6]
  redis.call('HSET', key, 'counter', counter)
end
local certain = is_same_server and job[4] == run and (ARGV[5] == '' or ARGV[5] == job[3])
local fresh, before, tail = 0, 0, 0
local shard = shard_of(name)
if not shard then
  fresh = certain and not job[5] and 1 or 0
elseif shard.token == token then
  -- The answer to an earlier attempt was lost.
  fresh, before, tail = shard.fresh, shard.before, shard.tail
else
  if shard.token ~= '' then
    -- The clock may have been set back.
    if shard.ends > now + shard.ttl then
      shard.change, shard.before, shard.tail = shard.change or next_change(), shard.before or 0, shard.tail or 0
      store(name, shard)
      return {0, shard.ttl, 0, counter, changes(), 0, 0}
    end
    if shard.ends > now then return {0, shard.ends - now, 0, counter, changes(), 0, 0} end
    tail = shard.ttl
  end
  before = shard.change
end
local change = next_change()
if not before or not begun then before, tail = change, tail or 0 end
store(name, {token = token, ttl = ttl, fresh = fresh, change = change, before = before, tail = tail})
redis.call('PEXPIRE', key, ARGV[4])
local wait = 0
if not certain then
  -- A holder that was forgotten sends as long as its lease lasts.
  wait, tail = math.max(0, since + ttl - now), math.max(tail, ttl)
end
return {1, wait, fresh, counter, change, math.max(before, begun or 0), tail}
"""
)

RENEW: Final = (
    _COMMON
    + """
local shard = shard_of(ARGV[1])
if not shard or shard.token ~= ARGV[2] then return 0 end
shard.ttl, shard.change = tonumber(ARGV[3]), next_change()
shard.before, shard.tail = shard.before or shard.change, shard.tail or 0
store(ARGV[1], shard)
redis.call('PEXPIRE', key, ARGV[4])
return 1
"""
)

RELEASE: Final = (
    _COMMON
    + """
local shard = shard_of(ARGV[1])
if not shard or shard.token ~= ARGV[2] then return 0 end
store(ARGV[1], {token = '', ttl = 0, fresh = 0, change = next_change(), before = 0, tail = 0})
return 1
"""
)
