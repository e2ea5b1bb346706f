"""
How many examples property tests try: ``default`` on every run, ``long`` with ``--hypothesis-profile=long``.
"""

from __future__ import annotations

from hypothesis import settings

# Without a deadline: how long an example takes depends on what else the machine does.
settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile("default")
