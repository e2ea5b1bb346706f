"""
What buttons hold: a text that says nothing, of which the hash is stored.
"""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """
    Make one: 128 random bits, 22 characters.
    """
    return secrets.token_urlsafe(16)


def token_hash(token: str) -> str:
    """
    What is stored of one.
    """
    return hashlib.sha256(token.encode()).hexdigest()
