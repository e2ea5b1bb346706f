"""
Presses of buttons in chats, as the providers of the chats tell of them.
"""
