"""An upstream in a process of its own that can be killed and started again: `python -m … PORT NAME SECONDS`.

Every call takes it SECONDS, and it says its NAME as the model that answered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.harness.processes import Process, free_port, wait_until


class QuickUpstream:
    """Its process."""

    def __init__(self, folder: Path, name: str, seconds: float) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._folder = folder
        self._seconds = seconds
        self._process: Process | None = None

    def start(self) -> None:
        """Start it (again)."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        argv = [sys.executable, "-m", __name__, str(self.port), self.name, str(self._seconds)]
        self._process = Process(self.name, argv, folder=self._folder)

    def wait(self) -> None:
        wait_until(self._listens, what=f"{self.name} listens")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.alive, self._process.text()
        return self._process.text().endswith("listening\n")

    def kill(self) -> None:
        """End it in the middle of all that it does."""
        if self._process is not None:
            self._process.kill()
            self._process.output.unlink()
            self._process = None


@contextmanager
def quick_upstreams(folder: Path, names: Sequence[str], seconds: float = 0.02) -> Iterator[list[QuickUpstream]]:
    """Run one of each name for the length of a block."""
    with ExitStack() as stack:
        made = [QuickUpstream(folder, name, seconds) for name in names]
        for one in made:
            stack.callback(one.kill)
            one.launch()
        for one in made:
            one.wait()
        yield made


def main() -> None:
    """Serve until it is killed."""
    import gevent
    from gevent.server import StreamServer

    name, seconds = sys.argv[2], float(sys.argv[3])
    said = json.dumps(
        {
            "id": "c1", "object": "chat.completion", "created": 1, "model": name,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        }
    ).encode()  # fmt: skip
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)

    def serve(sock: Any, _: object) -> None:
        data = b""
        with sock, suppress(OSError):
            while True:
                while b"\r\n\r\n" not in data:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                length = int(lengths[0].partition(b":")[2]) if lengths else 0
                while len(data) < length:
                    data += sock.recv(65536)
                data = data[length:]
                gevent.sleep(seconds)
                sock.sendall(answer)

    server = StreamServer(("127.0.0.1", int(sys.argv[1])), serve, backlog=256)
    server.start()
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
