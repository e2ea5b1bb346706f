"""
From the text of a ruleset to something that can be judged.

In the order in which data passes through: ``document`` (bytes to data), ``reader`` (data to the tree of
``syntax``), ``selectors``, ``operators``, ``patterns``, ``expressions`` and ``messages`` (parts of rules to
functions), ``policy`` (the tree to compiled rules).
"""
