"""The limit store: what may still be used, in Redis, changed by Lua scripts alone, by the clock of Redis.

Under `{prefix}limits:` stand
  w:{window}        hash: booked, pending and held tokens, requests and 1e-9 USD: b p h, then t r c
  holds, leases     what each call under way has reserved, and until when (hash by id, sorted set)
  pending           what ended calls were charged that the ledger has not booked yet (hash by id)
  seen              calls that must not be settled (again): sorted set by time
  marks             hash: up to where each journal segment's calls are settled
  state             hash: there only while the counters are whole
  boosts            hash: what is added to limits for a time
  r:{scope}:{kind}  what a minute was used for, second by second
  c:{scope}         sorted set: the calls under way of a scope whose number is limited
"""

from llm_one_api.stores.limits.store import LimitStore as LimitStore
