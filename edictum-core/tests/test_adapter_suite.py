"""
The suite for adapters, on an adapter without a fault.
"""

from __future__ import annotations

from tiny_framework import TinySuite


class TestTinyAdapter(TinySuite):
    pass
