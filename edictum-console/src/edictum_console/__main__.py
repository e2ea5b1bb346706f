"""
``python -m edictum_console``.
"""

from __future__ import annotations

import sys

from edictum_console.cli import main

sys.exit(main())
