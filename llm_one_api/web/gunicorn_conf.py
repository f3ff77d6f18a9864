"""gunicorn's settings, from ours. `config/gunicorn.conf.py` imports this; use whichever is at hand.

The reasons are in `docs/operations.md`.
"""

from __future__ import annotations

from llm_one_api.settings import load

_server = load().server

bind = f"[{_server.host}]:{_server.port}" if ":" in _server.host else f"{_server.host}:{_server.port}"
workers = _server.workers
worker_class = "llm_one_api.web.worker.GatewayWorker"
worker_connections = _server.max_streams + 200
"""More than calls, so that health, statistics and refusals are answered when calls are at their limit."""
graceful_timeout = int(_server.drain_timeout) + 5
timeout = 60
keepalive = 75
"""Seconds that an idle connection is kept: above the 60 s of common load balancers, so that they end it, not we."""
backlog = 2048
http_parser = "python"
control_socket_disable = True
forwarded_allow_ips = ",".join(map(str, _server.trusted_proxies)) or "127.0.0.1,::1"
max_requests = 0
preload_app = False
accesslog = None
errorlog = "-"
proc_name = "llm-one-api"
