"""What Redis does in one step for the leases of a job.

All that is known of a job is one hash, so that Redis loses all of it or nothing when it evicts, expires or deletes
keys. Its fields:

    nonce     who began the job
    run       the run ID of the Redis server that has written this
    since     since when that server has the hash, without a gap, in milliseconds of its clock
    certain   the run ID of the server in whose memory every lease of the job is, from the very first; or absent
    resumed   whether the job was begun again, by another process
    shards    into how many shards the job is divided, in all its runs
    s:<name>  a shard: token of the holder (none once it was given back), end, ttl, whether the lease was fresh

A server that was restarted, or that took over from another one, has another run ID. What it knows may be old: a lease
that was taken since its last snapshot is missing there.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

local function shard_of(name)
  local value = redis.call('HGET', key, 's:' .. name)
  if not value then return nil end
  local token, ends, ttl, fresh = string.match(value, '^(%w*):(%d+):(%d+):(%d)$')
  return {token = token, ends = tonumber(ends), ttl = tonumber(ttl), fresh = tonumber(fresh)}
end

local function store(name, token, ttl, fresh)
  local value = string.format('%s:%.0f:%.0f:%d', token, now + ttl, ttl, fresh)
  redis.call('HSET', key, 's:' .. name, value)
end
"""

BEGIN: Final = (
    _COMMON
    + """
local run, known = run_id(), redis.call('EXISTS', key) == 1
local nonce = redis.call('HGET', key, 'nonce')
if not nonce then
  nonce = ARGV[1]
  redis.call('HSET', key, 'nonce', nonce)
  if not known then
    redis.call('HSET', key, 'run', run, 'since', string.format('%.0f', now))
    -- This hash knows every lease of the job.
    if ARGV[2] == '1' and run ~= '' then redis.call('HSET', key, 'certain', run) end
  end
elseif nonce ~= ARGV[1] and nonce ~= ARGV[4] then
  -- Since the first beginning, rooms may have been created without a lease, or under that of another shard.
  redis.call('HSET', key, 'resumed', 1)
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
local job = redis.call('HMGET', key, 'run', 'since', 'nonce', 'certain', 'resumed')
local since = tonumber(job[2] or nil)
if run == '' or job[1] ~= run or not since or since > now then
  since = now
  redis.call('HSET', key, 'run', run, 'since', string.format('%.0f', now))
end
local certain = run ~= '' and job[1] == run and job[4] == run and (ARGV[5] == '' or ARGV[5] == job[3])
local fresh = 0
local shard = shard_of(name)
if not shard then
  fresh = certain and not job[5] and 1 or 0
elseif shard.token == token then
  fresh = shard.fresh
elseif shard.token ~= '' then
  -- The clock may have been set back.
  if shard.ends > now + shard.ttl then
    store(name, shard.token, shard.ttl, shard.fresh)
    return {0, shard.ttl, 0}
  end
  if shard.ends > now then return {0, shard.ends - now, 0} end
end
store(name, token, ttl, fresh)
redis.call('PEXPIRE', key, ARGV[4])
return {1, certain and 0 or math.max(0, since + ttl - now), fresh}
"""
)

RENEW: Final = (
    _COMMON
    + """
local shard = shard_of(ARGV[1])
if not shard or shard.token ~= ARGV[2] then return 0 end
store(ARGV[1], ARGV[2], tonumber(ARGV[3]), shard.fresh)
redis.call('PEXPIRE', key, ARGV[4])
return 1
"""
)

RELEASE: Final = (
    _COMMON
    + """
local shard = shard_of(ARGV[1])
if not shard or shard.token ~= ARGV[2] then return 0 end
store(ARGV[1], '', 0, 0)
return 1
"""
)
