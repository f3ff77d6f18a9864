"""Questions about the past that sums answer: what pages, terminals, exports, alerts and metrics read.

questions   what is asked: a stretch of time, in a zone, by buckets and dimensions
answers     what is told: sums, percentiles, rows
covering    what a stretch of time is made of: closed periods, less what of them lies outside, and shorter slots
plan        which table tells which part of the time, in as few reads as may be
dear        what is too much to read, and refused
reading     the SQL
buckets     in which bucket of local time counts what was read
folding     rows of tables become rows of an answer
analysis    the door: `ledger.analysis`
"""

from llm_one_api.stores.ledger.analysis.analysis import Analysis as Analysis
from llm_one_api.stores.ledger.analysis.answers import PeakHour as PeakHour
from llm_one_api.stores.ledger.analysis.answers import Quantiles as Quantiles
from llm_one_api.stores.ledger.analysis.answers import Row as Row
from llm_one_api.stores.ledger.analysis.answers import Sums as Sums
from llm_one_api.stores.ledger.analysis.latest import Cursor as Cursor
from llm_one_api.stores.ledger.analysis.questions import BUCKETS as BUCKETS
from llm_one_api.stores.ledger.analysis.questions import DIMENSIONS as DIMENSIONS
from llm_one_api.stores.ledger.analysis.questions import Bucket as Bucket
from llm_one_api.stores.ledger.analysis.questions import Dimension as Dimension
from llm_one_api.stores.ledger.analysis.questions import NotAnswerable as NotAnswerable
from llm_one_api.stores.ledger.analysis.questions import Question as Question
from llm_one_api.stores.ledger.analysis.questions import Rank as Rank
from llm_one_api.stores.ledger.analysis.questions import of_all_time as of_all_time
