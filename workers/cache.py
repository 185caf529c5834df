"""Files that jobs have in common, kept by their hash. The threads of a worker share it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from pathlib import Path

_MOST_BYTES = 2 * 1024**3


class Cache:
    """A folder of files, named by the SHA-256 of their content; those that were not used for longest make room."""

    def __init__(self, folder: Path, most: int = _MOST_BYTES) -> None:
        self._kept, self._partial = folder / "kept", folder / "partial"
        self._most = most
        self._making_room = threading.Lock()
        shutil.rmtree(self._partial, ignore_errors=True)  # of a predecessor
        for part in (self._kept, self._partial):
            part.mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str) -> bytes | None:
        """The content with this hash; None when it is not here, or not intact."""
        kept = self._kept / sha256
        try:
            data = kept.read_bytes()
            os.utime(kept)
        except FileNotFoundError:  # another thread may just have made room
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def put(self, sha256: str, data: bytes) -> None:
        """Keep content, whose hash the caller has looked at."""
        partial = self._partial / f"{sha256}.{secrets.token_hex(8)}"
        partial.write_bytes(data)
        with self._making_room:
            self._make_room(len(data))
            partial.replace(self._kept / sha256)

    def _make_room(self, size: int) -> None:
        found = sorted(((entry.stat(), entry) for entry in self._kept.iterdir()), key=lambda pair: pair[0].st_atime)
        total = size + sum(stat.st_size for stat, _ in found)
        for stat, entry in found:
            if total <= self._most:
                return
            total -= stat.st_size
            entry.unlink()
