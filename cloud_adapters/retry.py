"""Second attempts: full-jitter exponential backoff on what is transient, none on what is not.

Source of the schedule: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cloud_adapters.errors import StoreError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` in all; waits are drawn from 0 to `base_s`·2ⁿ seconds, never above `cap_s`. `wait` sits them out; what
    it raises ends it all."""

    attempts: int = 8
    base_s: float = 0.1
    cap_s: float = 10.0
    wait: Callable[[float], object] = time.sleep

    def call(self, operation: Callable[[], T], *, on_retry: Callable[[StoreError], None] | None = None) -> T:
        """The result of `operation`; the last error when all attempts failed or trying again cannot help."""
        for attempt in range(1, self.attempts + 1):
            try:
                return operation()
            except StoreError as error:
                if not error.retryable or attempt == self.attempts:
                    raise
                if on_retry:
                    on_retry(error)
                advised = float(error.details.get("retry_after") or 0)
            self.wait(min(self.cap_s, max(advised, random.uniform(0, self.base_s * 2**attempt))))  # noqa: S311
        raise AssertionError("unreachable: the last attempt returns or raises")
