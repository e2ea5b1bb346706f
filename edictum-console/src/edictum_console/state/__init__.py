"""
Short-lived state that requests and replicas share, behind ports: in this process and the database, or in Redis.
"""
