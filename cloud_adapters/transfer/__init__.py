"""Verified copies of artifacts, from any store to any store.

`transfer` pins the source's manifest, moves what the destination lacks, proves what landed, and writes the manifest
last. Progress lives in the destination itself (as its unfinished uploads), so that a transfer which was killed goes on
from any machine and sends at most one part per stream again.
"""

from cloud_adapters.transfer.engine import Report, copy, transfer
from cloud_adapters.transfer.estimate import Estimate, cost_of, estimate, estimate_copy
from cloud_adapters.transfer.flow import Counts, Options, Progress, TransferCancelled

__all__ = [
    "Counts",
    "Estimate",
    "Options",
    "Progress",
    "Report",
    "TransferCancelled",
    "copy",
    "cost_of",
    "estimate",
    "estimate_copy",
    "transfer",
]
