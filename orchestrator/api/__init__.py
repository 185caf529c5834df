"""The HTTP API: the only way in for people, programs and workers."""
