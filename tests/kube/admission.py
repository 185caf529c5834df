"""What the API double lets in: Kubernetes' own OpenAPI schema, and the Pod Security Standard *restricted*.

Sources: the schemas of kubernetes-validate, and https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

from tests.kube.objects import Json, Refused

_FOLDER = files("kubernetes_validate").joinpath("kubernetes-json-schema", "v1.36.0-local-strict")
_SCHEMAS = {
    "jobs": "job-batch-v1",
    "pods": "pod-v1",
    "secrets": "secret-v1",
    "services": "service-v1",
    "networkpolicies": "networkpolicy-networking-v1",
}
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@cache
def _validator(name: str) -> Any:
    schema = json.loads(_FOLDER.joinpath(f"{name}.json").read_text("utf-8"))
    definitions = json.loads(_FOLDER.joinpath("_definitions.json").read_text("utf-8"))
    registry = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


def admit(resource: str, thing: Json) -> None:
    """Raises Refused for what a real API server would not take."""
    if resource not in _SCHEMAS:
        return
    for fault in _validator(_SCHEMAS[resource]).iter_errors(thing):
        where = ".".join(map(str, fault.absolute_path))
        raise Refused(
            422, "Invalid", f'{thing["kind"]} "{thing["metadata"].get("name")}" is invalid: {where}: {fault.message}'
        )
    spec = {"jobs": lambda: thing["spec"]["template"]["spec"], "pods": lambda: thing["spec"]}.get(resource)
    if spec is not None and (violations := restricted(spec())):
        raise Refused(403, "Forbidden", f'violates PodSecurity "restricted:latest": {"; ".join(violations)}')


def restricted(pod: Json) -> list[str]:
    """How a pod's spec violates the standard."""
    found = [f"host namespaces ({name}=true)" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [
        f"restricted volume types ({volume['name']})"
        for volume in pod.get("volumes", ())
        if not _VOLUMES & volume.keys()
    ]
    whole = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        own = container.get("securityContext", {})
        name = container["name"]
        if own.get("privileged"):
            found.append(f"privileged ({name})")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"allowPrivilegeEscalation != false ({name})")
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            found.append(f"unrestricted capabilities ({name})")
        if not own.get("runAsNonRoot", whole.get("runAsNonRoot")):
            found.append(f"runAsNonRoot != true ({name})")
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            found.append(f"runAsUser=0 ({name})")
        if own.get("seccompProfile", whole.get("seccompProfile", {})).get("type") not in {
            "RuntimeDefault",
            "Localhost",
        }:
            found.append(f"seccompProfile ({name})")
        if any("hostPort" in port for port in container.get("ports", ())):
            found.append(f"hostPort ({name})")
    return found
