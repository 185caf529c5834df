"""`python -m migrations` brings the database named by DATABASE_URL to this release's schema."""

from __future__ import annotations

import os
import sys

from migrations import upgrade

if not os.environ.get("DATABASE_URL"):
    sys.exit("DATABASE_URL is not set. Set it to postgresql://user:password@host/database.")
upgrade(os.environ["DATABASE_URL"])
