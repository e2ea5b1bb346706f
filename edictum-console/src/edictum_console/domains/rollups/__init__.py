"""
Counts of events by minutes and hours, from which pages are drawn without reading the events.
"""
