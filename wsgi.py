"""gunicorn's door: settings → create_app → `application`; nothing else."""

from llm_one_api.app import create_app

application = create_app()
