"""What mends that a pod does not start: pure. The words are those of kubelets, container runtimes and network plugins.

Sources: https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/ and the events that kubelets write
(https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go).
"""

from __future__ import annotations

import re

from orchestrator.domain.state import Reason

OBSTACLES = {
    "FailedMount": Reason.INFRA_ERROR,
    "FailedMapVolume": Reason.INFRA_ERROR,
    "FailedAttachVolume": Reason.INFRA_ERROR,
    "FailedCreatePodSandBox": Reason.INFRA_ERROR,
    "NetworkNotReady": Reason.INFRA_ERROR,
}
"""Events that tell why a pod that has a node has neither volumes nor network yet, and whose fault that is unless the
words say otherwise. No field of the pod's status tells it."""

_LOOK_AT = {
    "FailedMount": "Look at the volume, and whether its storage can be reached from that node.",
    "FailedMapVolume": "Look at the volume, and whether its storage can be reached from that node.",
    "FailedAttachVolume": "A volume for one node at a time stays with the old node until that one has let go of it; of"
    " a node that is gone, delete the VolumeAttachment.",
    "FailedCreatePodSandBox": "Look at the container runtime and the network plugin of that node; cordon it meanwhile.",
    "NetworkNotReady": "Look at the network plugin of that node; cordon it meanwhile.",
    "CreateContainerConfigError": "Look at what the job and its pool name: it has to be in the namespace of the pods.",
    "CreateContainerError": "Look at the container runtime of that node; cordon it meanwhile.",
    "RunContainerError": "Look at the container runtime of that node; cordon it meanwhile.",
}
_PULLING = "Look at the name of the image, and whether the nodes can reach its registry."
_OF_STARTS = {
    r"couldn't find key|(secret|configmap)s? \S+ not found": "Make it, with that key, in the namespace of the pods.",
    r"no runtime for|runtimeclass": "Install on the nodes what the pool's runtimeClass names (for GPUs, NVIDIA's"
    " container toolkit), or take it out of the pool.",
    r"nvidia-container|libnvidia|nvml|select device driver": "The GPU driver of that node does not work: look at its"
    " GPU operator; cordon it meanwhile.",
    r"assign an IP|no more IPs|no IP addresses|insufficient IPs": "That node has no addresses left for pods: give its"
    " network more, or add nodes.",
    r"multi-attach": "A volume for one node at a time is still at another one: let all pods that use it share a node"
    " (`beside`), or delete the VolumeAttachment of a node that is gone.",
}
_OF_PULLS = {
    r"unauthorized|denied|forbidden|authentication required|no basic auth": "Name a Secret for its registry in the"
    " pool's imagePullSecrets, or let the nodes' identity read there; some say the same of a name that is not there.",
    r"no match for platform": "Build it for the processors of the nodes.",
    r"toomanyrequests|429": "The registry limits pulls: sign in with imagePullSecrets, or keep a copy of your own.",
    r"x509|certificate": "The nodes do not trust the registry: give its authority to their container runtime.",
    r"no such host|i/o timeout|connection refused|network is unreachable": "Let the nodes reach that registry.",
    r"manifest unknown|name unknown|: not found": "Look at its name and its tag.",
}
_MISSING = re.compile(r"(secret|configmap)s? \S+ not found|no runtime for|runtimeclass", re.IGNORECASE)
_LONGEST = 1200


def advised(why: str, words: str) -> str:
    """`words` and the sentence that says what mends them; `why` is Kubernetes' name for what is wrong."""
    return f"{_ended(words[:_LONGEST])} {fix(why, words)}".strip()


def fix(why: str, words: str) -> str:
    """What mends it."""
    by_words = _OF_STARTS if why in _LOOK_AT else _OF_PULLS
    known = (text for pattern, text in by_words.items() if re.search(pattern, words, re.IGNORECASE))
    return next(known, _LOOK_AT.get(why, _PULLING))


def obstacle(why: str, words: str) -> tuple[Reason, str]:
    """What an event among OBSTACLES means for a job: somebody has to make something, or the node is at fault."""
    reason = Reason.POD_REFUSED if _MISSING.search(words) else OBSTACLES[why]
    return reason, f"Its pod cannot start ({why}): {advised(why, words)}"


def _ended(words: str) -> str:
    text = words.rstrip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
