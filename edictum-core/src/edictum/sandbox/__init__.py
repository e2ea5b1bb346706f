"""
Sandbox rules: allow-lists of paths, commands and hosts, judged on everything that the arguments of a call name.

``arguments`` finds the texts, ``paths``, ``shell`` with ``commands``, and ``hosts`` read them, ``check`` decides.
"""
