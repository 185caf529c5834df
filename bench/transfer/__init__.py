"""Transfers measured against rclone."""
