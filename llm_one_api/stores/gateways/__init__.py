"""What gateway processes tell whoever counts up, in Redis: counts that no record has, and how their journals fare.

Under `{prefix}gateways:` stand
  counts    hash by name: what was counted ever, by all processes that there were
  seen      hash by process and name: how far that process's own count is in it
  alive     sorted set: who tells, by the ms of when it did last
  journals  hash by journal: how it fares
  heard     sorted set: the journals, by the ms of when they were told of last
"""

from llm_one_api.stores.gateways.messages import JournalFigures as JournalFigures
from llm_one_api.stores.gateways.messages import of_journal as of_journal
from llm_one_api.stores.gateways.store import GatewayStore as GatewayStore
from llm_one_api.stores.gateways.store import Heard as Heard
