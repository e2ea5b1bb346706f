"""
Writing a notice in the way of one channel, and handing it over; one module for each kind of place.
"""
