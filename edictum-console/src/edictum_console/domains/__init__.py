"""
What the console is about; a folder for each subject, with the same files in all.
"""
