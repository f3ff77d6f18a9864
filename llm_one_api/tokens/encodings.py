"""tiktoken's encodings, from the tables that come with the product: nothing is fetched, nothing is written."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

from tiktoken import Encoding
from tiktoken.model import encoding_name_for_model
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

RANKS = Path(__file__).with_name("ranks")

Name = Literal["o200k_base", "cl100k_base"]


class TableDamaged(Exception):
    """A table is not the one that tiktoken expects, or is not there. Its message names the file."""


def name_for(model: str) -> Name:
    """Name the encoding of *model*, also behind a provider's prefix, such as `openai/gpt-4o`.

    A model that tiktoken does not know is counted as the newer ones of OpenAI are; one whose encoding does not come
    with the product, all of them retired, with the older of the two that do.
    """
    name = model.lower()
    while True:
        try:
            known = encoding_name_for_model(name)
        except KeyError:
            _, slash, name = name.partition("/")
            if not slash:
                return "o200k_base"
        else:
            return "o200k_base" if known.startswith("o200k_") else "cl100k_base"


@cache
def load(name: Name, folder: Path = RANKS) -> Encoding:
    """Load an encoding, once a process. Raises TableDamaged.

    Pattern, special tokens and the hash of the table are tiktoken's own: its constructor is run, with nothing in its
    sight but words and a reader of our files, so it could not fetch anything if it tried.
    """
    constructor = openai_public.ENCODING_CONSTRUCTORS[name]
    sight: dict[str, Any] = {word: value for word, value in vars(openai_public).items() if isinstance(value, str)}
    sight["load_tiktoken_bpe"] = _reader(folder)
    made = FunctionType(constructor.__code__, sight)()
    encoding = Encoding(**made)
    # The encoder has a table of its own by now; this one would take another 30 MB.
    made["mergeable_ranks"].clear()
    return encoding


def _reader(folder: Path) -> Callable[[str, str], dict[bytes, int]]:
    """Make what stands in for tiktoken's own reader, which would fetch."""

    def read(url: str, expected_hash: str) -> dict[bytes, int]:
        file = folder / f"{url.rpartition('/')[2]}.gz"
        try:
            table = gzip.decompress(file.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise TableDamaged(f"{file}: cannot be read ({type(error).__name__})") from None
        found = hashlib.sha256(table).hexdigest()
        if found != expected_hash:
            raise TableDamaged(f"{file}: its SHA-256 is {found}, but tiktoken expects {expected_hash}")
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, BytesIO(table))}

    return read
