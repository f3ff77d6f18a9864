"""Celery doors onto `llm_one_api.books`: the application, the tasks, the schedule. Nothing imports this package."""
