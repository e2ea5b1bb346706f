"""
Edictum for CrewAI: :class:`CrewAIAdapter` puts the tool calls of agents under a guard.
"""

from __future__ import annotations

from edictum_crewai._tools import GovernedTool
from edictum_crewai.adapter import CrewAIAdapter, Registration

__version__ = "0.1.0"

__all__ = ["CrewAIAdapter", "GovernedTool", "Registration"]
