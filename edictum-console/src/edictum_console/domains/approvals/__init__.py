"""
Asking people before a tool is called.
"""
