"""The scheduler: places queued jobs, rings for workers, and mends what has gone wrong.

It keeps nothing in memory that matters. Any number of replicas run at once; one may die at any point.
"""
