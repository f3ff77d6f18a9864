"""The process that counts: `python -m llm_one_api.tokens`, with a socket as its stdin. The gateway starts it.

It lives as long as the other end of that socket is open, works behind calls, and writes nothing anywhere: neither to a
disk nor to its output, which leads nowhere. What goes wrong is told over the socket, by its kind and place.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import traceback
from contextlib import suppress

from llm_one_api.lifetime import BEHIND_CALLS
from llm_one_api.tokens import wire

MOST_MEMORY = 1024**3
"""Bytes of addresses. A body that would need more, such as two of 32 MB of empty objects at once, is not counted."""
_RECEIVE = 256 * 1024


def main() -> None:
    """Serve whoever holds the other end of stdin, until they let go."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold texts
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.nice(BEHIND_CALLS)
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all of a service: the gateway still has to close records
        signal.signal(number, signal.SIG_IGN)
    link = socket.socket(fileno=0)
    link.setblocking(True)  # the other end's kind is another matter
    try:
        serve(link)
        os._exit(0)  # taking the tables apart would take 0.2 s
    except BaseException as error:
        where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        with suppress(OSError):
            link.sendall(wire.pack(wire.Failed(_told(error), where)))
        raise SystemExit(1) from None


def serve(link: socket.socket) -> None:
    """Take work from *link*, and do it slice by slice, while it is open."""
    from llm_one_api.tokens import desk, encodings

    work = desk.Desk(lambda model: encodings.load(encodings.name_for(model)))
    messages = wire.requests()
    while True:
        try:
            data = link.recv(_RECEIVE, socket.MSG_DONTWAIT if work.busy else 0)
        except BlockingIOError:
            pass
        except OSError:
            return
        else:
            if not data:
                return
            for message in messages.feed(data):
                work.take(message)
        if work.busy:
            try:
                link.sendall(b"".join(map(wire.pack, work.step())))
            except OSError:
                return


def _told(error: BaseException) -> str:
    """Name an error without its text, which may hold anything; that of a damaged table names a file."""
    kind = type(error).__name__
    return f"{kind}: {error}" if kind == "TableDamaged" else kind


if __name__ == "__main__":
    main()
