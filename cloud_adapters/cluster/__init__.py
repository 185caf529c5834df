"""Kubernetes: the only home of its client."""
