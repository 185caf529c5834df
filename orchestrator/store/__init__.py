"""The database, and the only home of SQLAlchemy. Modules here are named after what they keep: jobs, attempts, events, …

Functions take an open connection inside a transaction and never commit: the caller decides what belongs together.
"""
