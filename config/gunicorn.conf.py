"""`gunicorn -c config/gunicorn.conf.py wsgi:application`."""

from llm_one_api.web.gunicorn_conf import *  # noqa: F403
