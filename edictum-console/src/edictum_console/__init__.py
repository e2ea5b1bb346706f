"""
The console: coordinates agents that Edictum governs, and never decides for one.

Run it with ``edictum-console serve``; put it into another server with :func:`edictum_console.app.create_app`.
"""

from __future__ import annotations

__version__ = "0.1.0"
