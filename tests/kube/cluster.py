"""The rest of a small cluster: the Job controller, the garbage collector, a scheduler, and a kubelet that runs a pod's
command as a local process, so that a job really goes from its submission to its report."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kube.objects import NOW, Json, Objects, Refused
from tests.kube.server import TOKEN, ApiServer

NAMESPACE = "jobs"
_INDEX, _JOB = "batch.kubernetes.io/job-completion-index", "batch.kubernetes.io/job-name"
_TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass
class Running:
    """A container as a process. `term_at` is when it was asked to go."""

    process: subprocess.Popen[bytes]
    folder: Path
    term_at: float | None = None


@dataclass
class Behaviour:
    """What the cluster does to pods. `place` names a node or says why there is none; `images` tells which images can be
    pulled; `runs`: False leaves pods as they are once they are scheduled, for the test to move; the kubelets of
    `silent` nodes do nothing."""

    place: Callable[[Json], tuple[str, str]] = lambda _pod: ("node-1", "")
    missing_images: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    runs: bool = True
    creates: bool = True
    quota: str = ""


class Cluster:
    """An API server with all that makes it live. `env` is added to what the containers' processes see."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.objects = Objects()
        self.server = ApiServer(self.objects)
        self.server.faults.log = self.log
        self.behaviour = Behaviour()
        self.env = env or {}
        self.running: dict[str, Running] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cluster")
        self._thread.start()

    @property
    def faults(self) -> Any:
        return self.server.faults

    def log(self, pod: str) -> str:
        """What a container has written so far."""
        path = self.folder / f"{pod}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kubeconfig(self, token: str = TOKEN, server: str | None = None) -> Path:
        """A file that opens this cluster."""
        path = self.folder / "kubeconfig"
        path.write_text(
            f"""
apiVersion: v1
kind: Config
current-context: double
clusters: [{{name: double, cluster: {{server: "{server or self.server.url}"}}}}]
users: [{{name: tester, user: {{token: {token}}}}}]
contexts: [{{name: double, context: {{cluster: double, user: tester, namespace: {NAMESPACE}}}}}]
"""
        )
        return path

    def node(self, name: str, **allocatable: str) -> None:
        """Add a node."""
        node = {
            "metadata": {"name": name, "labels": {}},
            "status": {
                "allocatable": {"cpu": "4", "memory": "16Gi", **allocatable},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self.objects.create("nodes", "", node)

    def pods(self, **labels: str) -> list[Json]:
        """Pods with these labels (`job` stands for the Job's name)."""
        wanted = {_JOB if name == "job" else name: value for name, value in labels.items()}
        return [
            pod
            for pod in self.objects.all("pods", NAMESPACE)
            if wanted.items() <= (pod["metadata"].get("labels") or {}).items()
        ]

    def set_status(self, pod: str, **status: Any) -> None:
        """Move a pod by hand."""

        def change(thing: Json) -> None:
            thing.setdefault("status", {}).update(status)

        self.objects.update("pods", NAMESPACE, pod, change)

    def kill_container(self, pod: str, reason: str = "Error", code: int = 137) -> None:
        """What the kernel does to a container that uses too much: all of it dies at once."""
        running = self.running.pop(pod)
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGSTOP)
        _kill_tree(running.process)
        self._ended(pod, code, reason)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for running in self.running.values():
            _kill_tree(running.process)
        self.server.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for step in (self._jobs, self._schedule, self._kubelet, self._collect):
                    step()
            except Refused:
                continue  # somebody else was faster
            with self.objects.changed:
                self.objects.changed.wait(0.05)

    def _jobs(self) -> None:
        for job in self.objects.all("jobs", NAMESPACE):
            name = job["metadata"]["name"]
            if "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend") or not self.behaviour.creates:
                continue
            status = job.get("status", {})
            pods = [pod for pod in self.pods(job=name) if self._owned(pod, job)]
            if not status.get("started"):
                self._begin(job)
                continue
            phases = [pod.get("status", {}).get("phase") for pod in pods]
            if "conditions" in status:
                for pod in pods:
                    if (
                        pod["status"].get("phase") in {"Pending", "Running"}
                        and "deletionTimestamp" not in pod["metadata"]
                    ):
                        self.objects.delete("pods", NAMESPACE, pod["metadata"]["name"])
            elif "Failed" in phases or len(pods) < job["spec"]["completions"]:
                self._finish(name, "Failed", "BackoffLimitExceeded")
            elif phases.count("Succeeded") == job["spec"]["completions"]:
                self._finish(name, "Complete", "CompletionsReached")

    def _owned(self, pod: Json, job: Json) -> bool:
        return any(one["uid"] == job["metadata"]["uid"] for one in pod["metadata"].get("ownerReferences", ()))

    def _begin(self, job: Json) -> None:
        meta = job["metadata"]
        if self.behaviour.quota:
            with suppress(Refused):
                event = {
                    "metadata": {"name": f"{meta['name']}.quota"},
                    "reason": "FailedCreate",
                    "message": self.behaviour.quota,
                }
                event["involvedObject"] = {"kind": "Job", "name": meta["name"]}
                self.objects.create("events", NAMESPACE, event)
            return
        template = job["spec"]["template"]
        for index in range(job["spec"]["completions"]):
            labels = {**template["metadata"]["labels"], _JOB: meta["name"], _INDEX: str(index)}
            owner = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": meta["name"],
                "uid": meta["uid"],
                "controller": True,
            }
            pod = {
                "metadata": {
                    "generateName": f"{meta['name']}-{index}-",
                    "labels": labels,
                    "annotations": {_INDEX: str(index)},
                    "ownerReferences": [owner],
                },
                "spec": {**template["spec"], "hostname": f"{meta['name']}-{index}"},
                "status": {"phase": "Pending"},
            }
            self.objects.create("pods", NAMESPACE, pod)
        self.objects.update(
            "jobs", NAMESPACE, meta["name"], lambda thing: thing.setdefault("status", {}).update(started=1)
        )

    def _finish(self, name: str, kind: str, reason: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason}
        self.objects.update(
            "jobs", NAMESPACE, name, lambda thing: thing.setdefault("status", {}).update(conditions=[condition])
        )

    def _schedule(self) -> None:
        for pod in self.pods():
            if pod["spec"].get("nodeName") or pod["status"].get("phase") != "Pending":
                continue
            node, words = self.behaviour.place(pod)
            now = {"type": "PodScheduled", "status": "True" if node else "False"}
            if not node:
                now |= {"reason": "Unschedulable", "message": words}
            if pod["status"].get("conditions") == [now]:
                continue

            def change(thing: Json, node: str = node, now: Json = now) -> None:
                thing["status"]["conditions"] = [now]
                if node:
                    thing["spec"]["nodeName"] = node

            self.objects.update("pods", NAMESPACE, pod["metadata"]["name"], change)

    def _kubelet(self) -> None:
        for pod in self.pods():
            name, meta = pod["metadata"]["name"], pod["metadata"]
            phase = pod["status"].get("phase")
            going = "deletionTimestamp" in meta
            if pod["spec"].get("nodeName") in self.behaviour.silent:
                continue
            if name in self.running:
                self._look_at(name, pod, going=going)
            elif going and (phase != "Running" or not self.behaviour.runs):
                self.objects.delete("pods", NAMESPACE, name, grace=0)
            elif self.behaviour.runs and phase == "Pending" and pod["spec"].get("nodeName"):
                self._start(name, pod)

    def _start(self, name: str, pod: Json) -> None:
        container = pod["spec"]["containers"][0]
        image = container["image"]
        if image in self.behaviour.missing_images:
            tries = pod["status"].get("tries", 0) + 1
            if tries > 2:
                return
            why = "ErrImagePull" if tries == 1 else "ImagePullBackOff"
            words = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": {image}: not found'
            if why == "ImagePullBackOff":
                words = f'Back-off pulling image "{image}": ErrImagePull: {words}'
            waiting = {"reason": why, "message": words}
            self.set_status(
                name, tries=tries, containerStatuses=[{"name": "job", "image": image, "state": {"waiting": waiting}}]
            )
            return
        try:
            mounts = self._mount(name, pod)
            env = self._environment(pod, container, mounts)
        except Refused as refused:
            state = {"waiting": {"reason": "CreateContainerConfigError", "message": str(refused)}}
            status = [{"name": "job", "image": image, "state": state}]
            if pod["status"].get("containerStatuses") != status:
                self.set_status(name, containerStatuses=status)
            return
        command = [sys.executable, *container["command"][1:]]
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(
            command, env=env, cwd=mounts["/work"], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        log.close()
        self.running[name] = Running(process, self.folder / name)
        started = [{"name": "job", "image": image, "state": {"running": {"startedAt": NOW}}}]
        self.set_status(name, phase="Running", containerStatuses=started)

    def _mount(self, name: str, pod: Json) -> dict[str, str]:
        """Each volume as a folder; secrets with their content."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounts = {}
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            folder = self.folder / name / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            if secret := volumes[mount["name"]].get("secret"):
                for key, value in self.objects.get("secrets", NAMESPACE, secret["secretName"])["data"].items():
                    (folder / key).write_text(value)
            mounts[mount["mountPath"]] = str(folder)
        return mounts

    def _environment(self, pod: Json, container: Json, mounts: dict[str, str]) -> dict[str, str]:
        """The container's variables, with its paths and its names as they are on this machine."""
        subdomain = pod["spec"].get("subdomain")
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **self.env}
        for one in container["env"]:
            if "valueFrom" in one:
                if (field := one["valueFrom"].get("fieldRef")) is not None:
                    assert field["fieldPath"] == "metadata.uid"
                    env[one["name"]] = pod["metadata"]["uid"]
                    continue
                wanted = one["valueFrom"]["secretKeyRef"]
                secret = self.objects.get("secrets", NAMESPACE, wanted["name"])
                env[one["name"]] = secret["data"][wanted["key"]]
                continue
            value = one["value"]
            for path, folder in mounts.items():
                if value == path or value.startswith(f"{path}/"):
                    value = folder + value[len(path) :]
                    break
            if subdomain and value.endswith(f".{subdomain}"):
                value = "127.0.0.1"
            env[one["name"]] = value
        env["NEUTRINO_LAST_WORDS"] = f"{mounts['/work']}.end"
        return env | {"JOB_COMPLETION_INDEX": pod["metadata"]["labels"][_INDEX], "HOME": mounts["/work"]}

    def _look_at(self, name: str, pod: Json, *, going: bool) -> None:
        running = self.running[name]
        code = running.process.poll()
        if code is not None:
            del self.running[name]
            _kill_tree(running.process)
            self._ended(name, code if code >= 0 else 128 - code, "Completed" if code == 0 else "Error")
            if going:
                self.objects.delete("pods", NAMESPACE, name, grace=0)
        elif going and running.term_at is None:
            running.term_at = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
        elif going and running.term_at is not None:
            grace = pod["metadata"].get("deletionGracePeriodSeconds", 30)
            if time.monotonic() - running.term_at > grace:
                _kill_tree(running.process)

    def _ended(self, name: str, code: int, reason: str) -> None:
        text = self.faults.logs[name] = self.log(name)
        end = self.folder / name / "work.end"
        words = end.read_text() if end.exists() else text[-2000:] if code else ""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        ended = {"exitCode": code, "reason": reason, "message": words}
        with suppress(Refused):
            self.set_status(
                name,
                phase="Succeeded" if code == 0 else "Failed",
                containerStatuses=[{"name": "job", "image": "worker", "state": {"terminated": ended}}],
            )

    def _collect(self) -> None:
        """Dependents go after their owner, or before it where it was deleted in the foreground."""
        jobs = {job["metadata"]["uid"]: job for job in self.objects.all("jobs", NAMESPACE)}
        held: set[str] = set()
        for resource in ("pods", "secrets", "services", "networkpolicies"):
            for thing in self.objects.all(resource, NAMESPACE):
                owners = [one["uid"] for one in thing["metadata"].get("ownerReferences", ())]
                if not owners:
                    continue
                owner = jobs.get(owners[0])
                foreground = owner is not None and "foregroundDeletion" in owner["metadata"].get("finalizers", ())
                if foreground:
                    held.add(owners[0])
                if (owner is None or foreground) and "deletionTimestamp" not in thing["metadata"]:
                    self.objects.delete(resource, NAMESPACE, thing["metadata"]["name"])
        for uid, job in jobs.items():
            finalizers = job["metadata"].get("finalizers", ())
            if "foregroundDeletion" in finalizers and uid not in held:
                left = [one for one in finalizers if one != "foregroundDeletion"]

                def change(thing: Json, left: list[str] = left) -> None:
                    thing["metadata"].update(finalizers=left)

                self.objects.update("jobs", NAMESPACE, job["metadata"]["name"], change)


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Everything that the container has started; its programs lead sessions of their own."""
    from workers import proctree

    proctree.kill_trees([process.pid])
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
