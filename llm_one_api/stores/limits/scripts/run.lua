-- Does the `ops` of many calls, in their order; replies to the admissions.
local REJECT, THROTTLE, SHADOW = 0, 1, 2
local whole = redis.call('EXISTS', P .. 'state') == 1

local function boosted(limit, window, unit)
  local boost = redis.call('HGET', P .. 'boosts', window:match('^(.*):[^:]*$') .. ':' .. unit)
  if boost then
    local amount, till = boost:match('^(-?%d+) (%d+)$')
    if amount and now < tonumber(till) then return limit + tonumber(amount) end
  end
  return limit
end

-- Of all minutes of a kind that refuse, keep the one of which the least remains: a trial is not told.
local function nearer(standing, limit, found)
  local remains = math.max(0, limit - found.sum)
  if not standing[1] or remains < standing[2] then
    standing[1], standing[2], standing[3] = limit, remains, reset_in(found)
  end
end

local function admit(op)
  local id, tokens, nanos, allow, quotas, rates, slots = op[2], op[3], op[4], op[5], op[6], op[7], op[8]
  for _, quota in ipairs(quotas) do
    if now < quota[7] or now >= quota[8] then return {'stale', now, whole} end
  end
  if #quotas > 0 and not whole and not allow then return {'unwhole', now, whole} end
  if #quotas > 0 and redis.call('HEXISTS', P .. 'holds', id) == 1 then
    return {'admitted', now, whole, '', 0, 0, 0, 0, 0, {}, {}, {}}
  end

  local refusal, shadows, charged = nil, {}, {}
  local function refuse(action, kind, index, limit, used, held, retry)
    if action == SHADOW then
      shadows[#shadows + 1] = {kind, index}
    elseif not refusal then
      refusal = {kind, index, limit, used, held, math.ceil(retry)}
    end
  end

  local counted = {rpm = 0, tpm = 0}
  for _, rate in ipairs(rates) do
    local scope, kind, limit, amount, action = rate[1], rate[2], rate[3], rate[4], rate[5]
    local found = minute(P .. 'r:' .. scope .. ':' .. kind)
    if found.sum + amount > limit then
      refuse(action, kind, counted[kind], limit, found.sum, 0, retry_in(found, limit, amount))
    end
    charged[#charged + 1] = {found, limit, amount, kind, action}
    counted[kind] = counted[kind] + 1
  end
  for n, slot in ipairs(slots) do
    local taken = places(slot[1])
    if taken >= slot[2] and not redis.call('ZSCORE', P .. 'c:' .. slot[1], id) then
      refuse(slot[3], 'concurrent', n - 1, slot[2], taken, 0, 1000)
    end
  end
  local throttled = {}
  if whole then
    for n, quota in ipairs(quotas) do
      local window, action = quota[1], quota[5]
      local c = redis.call('HMGET', P .. 'w:' .. window, 'bt', 'pt', 'ht', 'br', 'pr', 'hr', 'bc', 'pc', 'hc')
      for u, unit in ipairs({'tokens', 'requests', 'cost'}) do
        local limit, amount = quota[1 + u], ({tokens, 1, nanos})[u]
        if limit >= 0 then
          local at = 3 * u
          local used = (tonumber(c[at - 2]) or 0) + (tonumber(c[at - 1]) or 0)
          local held = tonumber(c[at]) or 0
          if used + held + amount > limit then limit = boosted(limit, window, unit) end
          if used + held + amount > limit then
            if action == THROTTLE then
              local scope = window:match('^(.*):[^:]*:[^:]*$')
              local key = P .. 'r:' .. scope .. ':throttle'
              local found = minute(key)
              if found.sum + 1 > quota[6] then
                refuse(REJECT, 'throttle', n - 1, quota[6], found.sum, 0, retry_in(found, quota[6], 1))
              else
                throttled[key] = found
              end
            else
              refuse(action, unit, n - 1, limit, used, held, 0)
            end
          end
        end
      end
    end
  end

  if not refusal then
    for _, c in ipairs(charged) do
      if c[3] > 0 then use_minute(c[1], math.min(c[3], MOST)) end
    end
    for _, found in pairs(throttled) do use_minute(found, 1) end
    for _, slot in ipairs(slots) do take_place(slot[1], id) end
    if #quotas > 0 then
      local windows = {}
      for n, quota in ipairs(quotas) do windows[n] = quota[1] end
      hold(id, windows, tokens, nanos)
    end
  end
  local requests, of_tokens = {}, {}
  for _, c in ipairs(charged) do
    if c[5] ~= SHADOW then nearer(c[4] == 'rpm' and requests or of_tokens, c[2], c[1]) end
  end
  local r = refusal or {'', 0, 0, 0, 0, 0}
  return {refusal and 'refused' or 'admitted', now, whole, r[1], r[2], r[3], r[4], r[5], r[6], requests, of_tokens, shadows}
end

local function renew(op)
  local id, windows = op[2], op[5]
  for _, scope in ipairs(op[6]) do take_place(scope, id) end
  if #windows > 0 and may_be_charged(id) then hold(id, windows, op[3], op[4]) end
end

local function leave(id, scopes)
  for _, scope in ipairs(scopes) do redis.call('ZREM', P .. 'c:' .. scope, id) end
end

local function done(op)
  leave(op[2], op[3])
  for _, correction in ipairs(op[4]) do
    local found = minute(P .. 'r:' .. correction[1] .. ':tpm')
    local list = found.list
    for n = 1, #list, 2 do
      if list[n] == correction[2] then
        local before = list[n + 1]
        list[n + 1] = math.min(MOST, math.max(0, before + correction[3]))
        found.sum = found.sum + list[n + 1] - before
        found.changed = true
      end
    end
  end
end

purge()
local replies = {}
for _, op in ipairs(asked.ops) do
  if op[1] == 'a' then
    replies[#replies + 1] = admit(op)
  elseif op[1] == 'n' then
    renew(op)
  elseif op[1] == 'd' then
    done(op)
  else
    leave(op[2], op[3])
    drop_hold(op[2])
  end
end
keep_minutes()
return cmsgpack.pack(replies)
