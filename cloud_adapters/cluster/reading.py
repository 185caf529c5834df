"""What a pod's status means for us: pure. Kubernetes' own words are kept, because they say what is missing.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and …/disruptions/#pod-disruption-conditions
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud_adapters.cluster.fixes import advised
from cloud_adapters.cluster.manifests import INDEX, JOB_NAME
from cloud_adapters.compute import Phase, Piece
from orchestrator.domain.state import Reason

Json = Mapping[str, Any]

_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"})
_NO_PULL_AT_ALL = frozenset({"ErrImageNeverPull", "InvalidImageName"})
_WRONG_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
# What a registry says when asking again will not help.
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|unauthorized|denied|forbidden|no match for platform",
    re.IGNORECASE,
)
_GOING = {"NodeShutdown", "Terminated", "Shutdown", "NodeLost", "Preempting"}
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
_LONGEST = 1500


def work_of(pod: Json) -> str:
    """The name of the work that a pod belongs to."""
    return str(pod["metadata"].get("labels", {}).get(JOB_NAME, ""))


def piece(pod: Json) -> Piece:
    """One pod as a piece of work."""
    meta, status = pod["metadata"], pod.get("status", {})
    container: Json = next(iter(status.get("containerStatuses", ())), {})
    state = container.get("state", {})
    phase, reason, message, code, hopeless = _judge(status, state, container)
    return Piece(
        index=int(meta.get("labels", {}).get(INDEX) or meta.get("annotations", {}).get(INDEX) or 0),
        phase=phase,
        reason=reason,
        message=message[:_LONGEST],
        exit_code=code,
        place=pod.get("spec", {}).get("nodeName"),
        hopeless=hopeless,
        gone_by=_seconds(meta.get("deletionTimestamp")),
        name=meta.get("name", ""),
        bare=phase is Phase.STARTING and reason is Reason.POD_STARTING and not _is_made(status),
    )


def _seconds(at: str | None) -> float | None:
    """A time of Kubernetes', in seconds since the epoch. That of a pod's deletion is when its grace ends."""
    return None if at is None else datetime.fromisoformat(at).timestamp()


def _is_made(status: Json) -> bool:
    """Whether its volumes and its network are there."""
    return any(one["status"] == "True" for one in _conditions(status, "PodReadyToStartContainers"))


_Judgement = tuple[Phase, Reason | None, str, int | None, bool]


def _judge(status: Json, state: Json, container: Json) -> _Judgement:
    match status.get("phase"):
        case "Succeeded":
            return Phase.SUCCEEDED, None, "", 0, False
        case "Failed":
            return _failed(status, state.get("terminated", {}), container)
        case "Running":
            return Phase.RUNNING, None, "", None, False
        case _:
            return _pending(status, state.get("waiting", {}), container)


def _pending(status: Json, waiting: Json, container: Json) -> _Judgement:
    unscheduled = next((one for one in _conditions(status, "PodScheduled") if one["status"] == "False"), None)
    if unscheduled is not None:
        words = unscheduled.get("message") or unscheduled.get("reason", "")
        return Phase.WAITING, Reason.UNSCHEDULABLE, f"Waiting for a node. The scheduler says: {words}", None, False
    why, words = waiting.get("reason", ""), waiting.get("message", "")
    image = container.get("image", "")
    if why in _PULLS:
        hopeless = why in _NO_PULL_AT_ALL or (why == "ImagePullBackOff" and bool(_NO_SUCH_IMAGE.search(words)))
        text = f"The image {image} cannot be pulled ({why}): {advised(why, words)}"
        return Phase.STARTING, Reason.IMAGE_UNAVAILABLE, text, None, hopeless
    if why in _WRONG_CONTAINER:
        text = f"The container cannot start ({why}): {advised(why, words)}"
        return Phase.STARTING, Reason.POD_REFUSED, text, None, False
    if not any(one["status"] == "True" for one in _conditions(status, "PodScheduled")):
        return Phase.WAITING, Reason.POD_STARTING, "Waiting for the scheduler.", None, False
    return Phase.STARTING, Reason.POD_STARTING, "Starting its pod; the image may have to be pulled first.", None, False


def _failed(status: Json, ended: Json, container: Json) -> _Judgement:
    reason, words = _end(status, ended, container)
    return Phase.FAILED, reason, words, ended.get("exitCode"), False


def _end(status: Json, ended: Json, container: Json) -> tuple[Reason, str]:
    why, words = status.get("reason", ""), status.get("message", "")
    code = ended.get("exitCode")
    if why == "DeadlineExceeded":
        return Reason.TIMEOUT, "Its pod ran into its deadline."
    if ended.get("reason") == "OOMKilled":
        return Reason.OOM, "Out of memory: the kernel killed its container, because it used more than it had asked for."
    if disruption := next((one for one in _conditions(status, "DisruptionTarget") if one["status"] == "True"), None):
        text = disruption.get("message") or disruption.get("reason", "")
        return Reason.PREEMPTED, f"Its pod was evicted ({disruption.get('reason', '')}): {text}"
    if why == "Evicted":
        return Reason.INFRA_ERROR, f"Its pod was evicted: {words}"
    if why in _GOING:
        return Reason.PREEMPTED, f"Its node went away ({why}): {words}"
    if ended.get("reason") in _NEVER_RAN:
        image = container.get("image", "the image")
        return Reason.POD_REFUSED, (
            f"{image} cannot run: {ended.get('message', '')} An image needs Python and neutrino-ai in it; the simplest"
            " way is to build it FROM the worker image."
        )
    if code is None:
        return Reason.INFRA_ERROR, f"Its pod failed: {why or 'no reason is given'}. {words}".strip()
    return _exited(code, ended.get("message", ""))


def _exited(code: int, said: str) -> tuple[Reason, str]:
    """The pod's own process ended without a report."""
    last = said.strip().splitlines()[-1] if said.strip() else ""
    if "No module named" in last and "workers" in last:
        return Reason.POD_REFUSED, f"The image has no neutrino-ai in it ({last}). Build it FROM the worker image."
    if code == 137:
        return Reason.KILLED, "Its container was killed (SIGKILL), and not by us."
    return Reason.INFRA_ERROR, f"Its pod ended with code {code} and told nobody. Its last words: {last or 'none'}"


def _conditions(status: Json, kind: str) -> list[Json]:
    return [one for one in status.get("conditions", ()) if one["type"] == kind]
