"""
What property tests try: the same examples on every run, or with ``--hypothesis-profile=long`` many others each time.
"""

from __future__ import annotations

from hypothesis import settings

# Without a deadline: how long an example takes depends on what else the machine does.
# The same examples: what fails in a run was broken by the change, not found by luck.
settings.register_profile("default", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile("default")
