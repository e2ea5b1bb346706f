"""
What goes wrong when the console calls somebody; the texts are the console's own and repeat nothing that was answered.
"""

from __future__ import annotations


class OutboundError(Exception):
    """
    A call failed.

    Attributes:
        text: Why, for people.
        retry_after: For how many seconds the other side asks to be left alone; None if it does not say.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        self.text = text
        self.retry_after = retry_after
        super().__init__(text)


class RefusedTargetError(OutboundError):
    """
    The console does not call such an address.
    """


class UnreachableError(OutboundError):
    """
    Nobody answers.
    """
