"""What a call costs: exact, with where the price comes from, or nothing. Pure but for one table that is loaded on need.

rates        what a unit costs, and what a usage comes to
configured   the operator's prices, by name and day
reported     what the provider itself says that the call cost
table        the public prices of the library genai-prices
pricer       asks them in this order, and writes the answer on the record
"""

from llm_one_api.pricing.configured import Entry as Entry
from llm_one_api.pricing.configured import PriceList as PriceList
from llm_one_api.pricing.pricer import Pricer as Pricer
from llm_one_api.pricing.rates import Rates as Rates
