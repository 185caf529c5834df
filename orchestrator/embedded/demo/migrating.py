"""The model goes from aws to gcp and on to azure; wherever it is, its bytes are the same."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from orchestrator.embedded.demo.site import PATIENCE_SECONDS, WEIGHTS, Fact, Site

ROUTE = ("aws", "gcp", "azure")


def run(site: Site) -> list[Fact]:
    """Migrate, download from each place, and have every copy hashed at rest."""
    assert site.model is not None, "a model has been trained before"
    return [*(_migrate(site, here, there) for here, there in pairwise(ROUTE)), _verify(site)]


def _migrate(site: Site, here: str, there: str) -> Fact:
    model = site.model
    assert model is not None
    plan = model.plan(there, source=here)
    site.console.print(
        f"Migrating [bold]{model.ref}[/] {here} → {there}: {plan.bytes_to_move:,} bytes, ${plan.usd:.4f} of egress"
    )
    migration = model.migrate(there, source=here).wait(progress=True, timeout=PATIENCE_SECONDS)
    folder = model.download(site.folder / there, near=there)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    seconds = migration.view.seconds or 0.0
    found = f"{migration.view.moved_bytes:,} bytes sent in {seconds:.1f} s, downloaded from there {digest[:16]}…"
    return Fact(f"migrated {here} → {there}", found, digest == site.weights)


def _verify(site: Site) -> Fact:
    assert site.model is not None
    checks = site.model.verify()
    for check in checks:
        check.wait(timeout=PATIENCE_SECONDS)
    copies = {replica.cloud: replica.state for replica in site.model.replicas}
    found = ", ".join(f"{cloud} {state}" for cloud, state in sorted(copies.items()))
    return Fact("every byte hashed at rest", found, set(copies) == set(ROUTE) and set(copies.values()) == {"verified"})
