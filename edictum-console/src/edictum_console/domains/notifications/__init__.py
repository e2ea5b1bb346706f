"""
Telling people, in the places where they are, that an agent asks for something; and what came of it.
"""
