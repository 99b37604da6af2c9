"""Scenarios side by side, each in a copy of the lab: `lab run --jobs` (decision 0021).

A process for each copy (worker.py), told by its parent (crew.py) which scenario is next (order.py), in the
words of messages.py.
"""
