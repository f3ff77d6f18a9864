"""The relay: one process a journal folder, which sends records to the workers until the ledger has them.

follower   sees every entry once, in order
settling   charges what ended to its quotas, straight from there
batches    cuts the records into batches, which are places in the journal, and has each record priced
window     sends them, again and again, until they are acked
freeing    lets go of segments of which nothing is left to do
telling    says how it goes, to whoever looks after it
"""

from llm_one_api.books.relay.relay import Relay as Relay
