"""Hands the ledger's records to the stats plugins, to each in their order, from where it stopped last time.

One delivery a plugin at a time: the lease on its cursor sees to that, in all processes. The cursor moves after each
chunk, so a crash repeats at most a chunk; an `ExactStatsPlugin` keeps its own place and repeats nothing.

What a plugin raises is told with its name, ends this delivery with the records before it counted as delivered, and puts
off the next one; another plugin does not notice. A plugin that hangs where Python cannot end it (in C, waiting for its
server) costs this process, which would else be missing for the others. A process that ended with a delivery under way
counts as a failure of the plugin too.

After a failure the next chunk is handed over with care: one by one, with the cursor after each, in a fresh instance. So
it is known which record it was. One that was refused `Pace.tries` times is set aside in the dead letters, if it is the
record's fault and not the plugin's (`look_ahead` in `plain.py` finds that out). One with which the process ended so
often is set aside without a question: a plugin whose server is away ends no process.
"""

from llm_one_api.books.deliver.delivery import Delivered, deliver
from llm_one_api.books.deliver.pace import Pace
from llm_one_api.books.deliver.protocols import Kept

__all__ = ["Delivered", "Kept", "Pace", "deliver"]
