"""The config: a YAML file with `${ENV}`, overridden by the environment, checked and frozen.

Read at the composition roots only (`app`, `cli`, `workers.celery_app`); everybody else is handed plain values.
"""

from llm_one_api.settings.kinds import masked
from llm_one_api.settings.loading import load, source
from llm_one_api.settings.schema import Settings
from llm_one_api.settings.together import SAMPLE_KEY

__all__ = ["SAMPLE_KEY", "Settings", "load", "masked", "source"]
