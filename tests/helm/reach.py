"""Who reaches whom, by the rules of NetworkPolicies: what a network that enforces them would do.

Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A pod, or with no namespace a host outside of the cluster."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Network:
    """Pods under some policies."""

    def __init__(self, policies: Iterable[Object]) -> None:
        self._policies = tuple(policies)

    def lets(self, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection is let out of its source and into its target."""
        return self._allows("Egress", source, target, port, protocol) and self._allows(
            "Ingress", target, source, port, protocol
        )

    def _allows(self, direction: str, own: Place, other: Place, port: int, protocol: str) -> bool:
        peers, rules = {"Egress": ("to", "egress"), "Ingress": ("from", "ingress")}[direction]
        holding = [
            policy
            for policy in self._policies
            if own.namespace == policy["metadata"]["namespace"]
            and direction in policy["spec"]["policyTypes"]
            and _selects(policy["spec"]["podSelector"], own.labels)
        ]
        return not holding or any(
            _port(rule.get("ports"), port, protocol) and _peer(rule.get(peers), other, policy["metadata"]["namespace"])
            for policy in holding
            for rule in policy["spec"].get(rules, ())
        )


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(one["operator"] == "Exists" for one in selector.get("matchExpressions", ()))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        one["key"] in labels for one in selector.get("matchExpressions", ())
    )


def _port(ports: list[Object] | None, port: int, protocol: str) -> bool:
    return not ports or any((one["port"], one["protocol"]) == (port, protocol) for one in ports)


def _peer(peers: list[Object] | None, other: Place, own_namespace: str) -> bool:
    return not peers or any(_is(peer, other, own_namespace) for peer in peers)


def _is(peer: Object, other: Place, own_namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        inside = [ip_address(other.address) in ip_network(net) for net in (block["cidr"], *block.get("except", ()))]
        return inside[0] and not any(inside[1:])
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != own_namespace:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)
