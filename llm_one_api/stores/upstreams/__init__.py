"""What the processes tell one another of the upstreams, in Redis, by the clock of Redis.

Under `{prefix}upstreams:` stand
  processes   sorted set: who takes part, by the ms of its last turn
  standings   hash by process: what each upstream has under way there, and how it fares
  figures     hash by process: what the pages show
  conditions  hash by upstream: who rests and why, as was found last, with the µs in front by which that is told
  kept        sorted set: until when (ms) a condition is kept
  version     changes with every condition
  probe:{..}  there while some process probes an upstream for all
"""

from llm_one_api.stores.upstreams.messages import Told as Told
from llm_one_api.stores.upstreams.store import UpstreamStore as UpstreamStore
