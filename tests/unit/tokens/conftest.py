"""tiktoken itself, to compare with: it finds the tables where it would keep what it has fetched."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import pytest
import tiktoken

from llm_one_api.tokens.encodings import RANKS, Name

NAMES: tuple[Name, ...] = ("o200k_base", "cl100k_base")


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Name, tiktoken.Encoding]:
    """Both encodings, as `tiktoken.get_encoding` makes them."""
    cache = tmp_path_factory.mktemp("cache")
    for name in NAMES:
        url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        table = gzip.decompress((RANKS / f"{name}.tiktoken.gz").read_bytes())
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return MappingProxyType({name: tiktoken.get_encoding(name) for name in NAMES})
