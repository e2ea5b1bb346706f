"""
``python -m edictum.cli``: the same as ``python -m edictum``.
"""

from __future__ import annotations

import sys

from edictum.cli import main

if __name__ == "__main__":
    sys.exit(main())
