"""What people may do in a workspace. The API's tokens and the dashboard's sessions follow the same ladder."""

from __future__ import annotations

from orchestrator.domain.errors import PermissionDenied

LADDER = ("viewer", "submitter", "operator", "admin")
"""Each role may do what the ones before it may. Workers stand beside: they run jobs and see nothing else."""


def allows(role: str, wanted: str) -> bool:
    """Whether somebody with `role` may do what needs `wanted`."""
    return role in LADDER[LADDER.index(wanted) :]


def require(role: str, wanted: str) -> None:
    """Raise PermissionDenied unless `role` allows what needs `wanted`."""
    if not allows(role, wanted):
        raise PermissionDenied(
            f"This needs the role {wanted}; yours is {role}.", hint="Ask an admin of the workspace for another token."
        )
