"""
A server with one tool, which notes the paths that it is called with in the file that RAN names.
"""

from __future__ import annotations

import os
from pathlib import Path

from mcp.server.fastmcp import FastMCP

server = FastMCP("files", log_level="ERROR")


@server.tool()
def read_file(path: str) -> str:
    """
    Read a file.
    """
    with Path(os.environ["RAN"]).open("a") as file:
        file.write(f"{path}\n")
    return f"text of {path}"


if __name__ == "__main__":
    server.run()
