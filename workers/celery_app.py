"""The Celery application: `celery -A workers.celery_app worker -Q ingest` (or `-Q deliver,jobs`), and `… beat`."""

from __future__ import annotations

import sys

from celery import Celery

from llm_one_api import logs
from llm_one_api.broker import celery_options
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.settings import load
from workers.schedule import beat_schedule

try:
    settings = load(check=manager.check)
except ConfigError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from None
logs.configure(settings.logging.level, settings.logging.format)

app = Celery("workers", include=["workers.tasks", "workers.life", "workers.memory"], task_cls="workers.slots:Task")
app.conf.update(
    celery_options(settings.broker_url, settings.redis.key_prefix),
    beat_schedule=beat_schedule(settings.plugins.stats),
    # Ingests go one after another anyway (the ledger's row lock), and a plugin has one delivery at a time: two
    # processes keep one busy while the other unpacks. `-c` says otherwise.
    worker_concurrency=2,
)
