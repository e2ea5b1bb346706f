"""
Everything that the console sends to other machines on its own account, over one connector that says where it may go.
"""
