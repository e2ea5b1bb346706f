"""
What is fuzzed: a module for each part, with ``target``, ``seeds``, ``words`` and two limits.

``LONGEST`` is the length of the longest input in bytes, ``SECONDS`` the time after which one counts as a hang.
"""
