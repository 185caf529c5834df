"""A release's pods as processes of this machine: the same commands with the same variables, started all at once, as a
cluster does. Only addresses and folders are other ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from orchestrator.embedded import ports
from tests.helm.chart import CHART, NAMESPACE, Object, Release

_SECONDS = 90


class Pod(threading.Thread):
    """Runs the first containers one after the other, then the last one until it ends."""

    def __init__(self, name: str, pod: Object, node: Node) -> None:
        super().__init__(name=name, daemon=True)
        self.template = pod
        self._node = node
        self._stopped = False
        self.codes: dict[str, int] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        spec = self.template["spec"]
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            if self._stopped:
                return
            with self._node.log(self.name, container["name"]).open("wb") as log:
                self.process = subprocess.Popen(
                    self._node.command(container["command"]),
                    env=self._node.environment(self.name, container),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.codes[container["name"]] = self.process.wait()
            if self.codes[container["name"]]:
                return

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to go."""
        self._stopped = True
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Node:
    """The machine that the pods run on. `secrets` are those that were there before the release."""

    def __init__(self, release: Release, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._release = release
        self._folder = folder
        made = {one["metadata"]["name"]: one["stringData"] for one in release.of("Secret")}
        self._secrets = {**made, **secrets}
        port = ports.choose(folder / "port", None)
        self._local = {
            f"http://neutrino-api.{NAMESPACE}.svc:8470": f"http://127.0.0.1:{port}",
            ":8470": f"127.0.0.1:{port}",
            ":8471": f"127.0.0.1:{ports.choose(folder / 'alive', None)}",
            "/var/lib/neutrino": str(folder / "data"),
            "/test/": f"{CHART / 'files'}/",
        }
        (folder / "data" / "store").mkdir(parents=True)

    def pod(self, where: str) -> Pod:
        """One of the release's pods, such as `Deployment/neutrino-api`."""
        pods = dict(self._release.pods())
        (name,) = [name for name in pods if name.startswith(where)]
        return Pod(name.rpartition("/")[2], pods[name], self)

    def log(self, pod: str, container: str) -> Path:
        """Where a container's output goes."""
        return self._folder / f"{pod}.{container}.log"

    def command(self, command: list[str]) -> list[str]:
        """A container's command, with this Python."""
        return [sys.executable if word == "python" else self._here(word) for word in command]

    def environment(self, pod: str, container: Object) -> dict[str, str]:
        """The variables of a container, and the few that every process here needs."""
        alive = str(self._folder / f"{pod}.alive")
        given = {one["name"]: self._value(one, pod) for one in container["env"]}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return inherited | given | {"NEUTRINO_ALIVE_FILE": alive}

    def probe(self, pod: Pod, probe: str) -> bool:
        """Whether a probe of the pod's last container succeeds."""
        container = pod.template["spec"]["containers"][-1]
        environment = self.environment(pod.name, container)
        if "httpGet" in container[probe]:
            url = f"http://{environment['NEUTRINO_ALIVE_BIND']}{container[probe]['httpGet']['path']}"
            return httpx.get(url, timeout=_SECONDS, trust_env=False).status_code == 200
        command = container[probe]["exec"]["command"]
        done = subprocess.run(command, env=environment, timeout=_SECONDS, check=False)
        return done.returncode == 0

    def _value(self, variable: dict[str, Any], pod: str) -> str:
        if "value" in variable:
            return self._here(str(variable["value"]))
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return f"{pod}-1"
        reference = source["secretKeyRef"]
        return str(self._secrets[reference["name"]][reference["key"]])

    def _here(self, text: str) -> str:
        for far, near in self._local.items():
            text = text.replace(far, near)
        return text
