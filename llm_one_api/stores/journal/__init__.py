"""The journal (disk): entries, the writer in the gateway, the reader in the relay."""

from llm_one_api.stores.journal.entries import Opened as Opened
from llm_one_api.stores.journal.lock import relay_is_running as relay_is_running
from llm_one_api.stores.journal.writer import Journal as Journal
