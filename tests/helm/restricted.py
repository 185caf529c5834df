"""The Pod Security Standard *restricted* for Linux pods, and a root that nobody writes to.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SECCOMP = {"RuntimeDefault", "Localhost"}


def faults(pod: dict[str, Any]) -> list[str]:
    """What keeps a pod from the standard; nothing when it passes."""
    spec = pod["spec"]
    return [
        *(f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)),
        *(
            f"volume {one['name']} is none of the allowed"
            for one in spec.get("volumes", ())
            if not _VOLUMES & one.keys()
        ),
        *(fault for one in _containers(spec) for fault in _container(one, spec.get("securityContext", {}))),
    ]


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", ()), *spec["containers"], *spec.get("ephemeralContainers", ())]


def _container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    name = container["name"]
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may escalate privileges"
    if own.get("privileged"):
        yield f"{name} is privileged"
    if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield f"{name} may run as root"
    if own.get("runAsUser", pod.get("runAsUser", 1)) == 0:
        yield f"{name} runs as root"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in _SECCOMP:
        yield f"{name} has no seccomp profile"
    capabilities = own.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"{name} has capabilities"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield f"{name} has a port of the host"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write to its root"
