"""
Writing files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable


def replace_file(target: str, chunks: Iterable[bytes]) -> None:
    """
    Write a file at once or not at all; one that is there keeps its permissions.

    Args:
        target: The file, not a link to it.
        chunks: Its content, one after the other.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    from shutil import copymode
    from tempfile import NamedTemporaryFile

    folder, name = os.path.split(target)
    with NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as stream:
        try:
            for chunk in chunks:
                stream.write(chunk)
            stream.close()
            if os.path.exists(target):
                copymode(target, stream.name)
            else:
                os.chmod(stream.name, 0o666 & ~_umask())
            os.replace(stream.name, target)
        except BaseException:
            os.unlink(stream.name)
            raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
