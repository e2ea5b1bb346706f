"""
What an operator does at the machine of the console: straight on the database, also while the console runs.

Everything goes through the services that routes use, so the same rules hold, and the administrators' log says that the
command line did it.  No HTTP is spoken, nothing is claimed and no worker is started.
"""
