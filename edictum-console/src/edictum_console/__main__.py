"""
``edictum-console``, and ``python -m edictum_console``.
"""

from __future__ import annotations

import sys

from edictum_console.stopping import end_on_signals


def run() -> int:
    """
    Run the command of this process, which can be stopped while it is still being imported.
    """
    end_on_signals()
    from edictum_console.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
