"""Runs processes: starts them, starts them again when they die, stops them in order.

It knows nothing of what the processes are. All of it runs in the main thread: the kernel's promise that a child
dies with its parent (`lifetime.py`) is about the thread that started it.
"""
