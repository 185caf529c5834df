"""A Kubernetes API server in memory that answers the way the real one does: lists in pages, watches with bookmarks and
410, conflicts, patches, status as a subresource, deletion that waits for finalizers, admission. And it breaks."""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.kube.admission import admit
from tests.kube.objects import KINDS, Json, Objects, Refused, matches

TOKEN = "kube-token-for-tests"
_PATH = re.compile(
    r"^/(?:api/v1|apis/(?:batch|networking\.k8s\.io)/v1)"
    r"(?:/namespaces/([a-z0-9-]+))?/([a-z]+)(?:/([^/]+))?(?:/(status|log))?$"
)
_BOOKMARK_SECONDS = 1.0


@dataclass
class Faults:
    """What is wrong with the server just now. `hangs`: it takes requests and does not answer; `denied`: pairs of verb
    and resource; `lost_answers`: so many creations of Jobs happen, and their answers do not arrive."""

    down: bool = False
    hangs: bool = False
    denied: set[tuple[str, str]] = field(default_factory=set)
    lost_answers: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    namespaces: set[str] = field(default_factory=lambda: {"jobs"})
    logs: dict[str, str] = field(default_factory=dict)
    log: Callable[[str], str] = lambda _pod: ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: Objects
    faults: Faults
    closing: threading.Event

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_PUT(self) -> None:
        self._answer("update")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def _answer(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        try:
            while self.faults.hangs and not self.closing.is_set():
                time.sleep(0.05)
            if self.faults.down:
                raise Refused(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            self._route(verb, parts.path, query, body)
        except Refused as refused:
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": refused.reason,
                "message": str(refused),
                "code": refused.status,
            }
            self._send(refused.status, status)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, verb: str, path: str, query: dict[str, str], body: Json) -> None:
        if path == "/version":
            self._send(200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0-double"})
            return
        if path.endswith("/selfsubjectaccessreviews"):
            wanted = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
            self._send(201, body | {"status": {"allowed": (wanted["verb"], resource) not in self.faults.denied}})
            return
        match = _PATH.match(path)
        if match is None or match[2] not in KINDS:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        namespace, resource, name, part = match[1] or "", match[2], match[3], match[4]
        if verb == "get" and name is None:
            verb = "watch" if query.get("watch") == "true" else "list"
        self.faults.requests[f"{verb} {resource}"] += 1
        if (verb, "/".join(filter(None, (resource, part)))) in self.faults.denied:
            raise Refused(
                403, "Forbidden", f'{resource} is forbidden: User "double" cannot {verb} resource "{resource}"'
            )
        getattr(self, f"_{verb}")(namespace, resource, name, part, query, body)

    def _get(self, namespace: str, resource: str, name: str, part: str | None, _query: Any, _body: Any) -> None:
        thing = self.objects.get(resource, namespace, name)
        if part == "log":
            self._send_bytes(200, "text/plain", self.faults.log(name).encode())
        else:
            self._send(200, thing)

    def _list(self, namespace: str, resource: str, _name: None, _part: None, query: dict[str, str], _body: Any) -> None:
        objects = self.objects
        with objects.changed:
            found = [thing for thing in objects.all(resource, namespace) if self._wanted(thing, query)]
            meta: Json = {"resourceVersion": str(objects.version)}
            start, limit = int(query.get("continue", 0)), int(query.get("limit", 0))
            page = found[start : start + limit] if limit else found
            if start + len(page) < len(found):
                meta["continue"] = str(start + len(page))
            data = json.dumps(
                {"kind": f"{KINDS[resource][1]}List", "apiVersion": "v1", "metadata": meta, "items": page}
            )
        self._send_bytes(200, "application/json", data.encode())

    def _wanted(self, thing: Json, query: dict[str, str]) -> bool:
        return matches(thing, query.get("labelSelector", ""), query.get("fieldSelector", ""))

    def _watch(
        self, namespace: str, resource: str, _name: None, _part: None, query: dict[str, str], _body: Any
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        objects, version = self.objects, int(query["resourceVersion"])
        end = time.monotonic() + float(query.get("timeoutSeconds", 300))
        bookmark = time.monotonic() + _BOOKMARK_SECONDS
        try:
            while time.monotonic() < end and not self.closing.is_set() and not self.faults.down:
                for number, kind, of, where, thing in objects.since(version):
                    version = number
                    if of == resource and namespace in {"", where} and self._wanted(thing, query):
                        self._event(kind, thing)
                if time.monotonic() > bookmark and not self.faults.hangs:
                    bookmark = time.monotonic() + _BOOKMARK_SECONDS
                    self._event("BOOKMARK", {"kind": KINDS[resource][1], "metadata": {"resourceVersion": str(version)}})
                with objects.changed:
                    if objects.version <= version:
                        objects.changed.wait(0.2)
        except Refused as gone:
            self._event("ERROR", {"kind": "Status", "code": gone.status, "reason": gone.reason, "message": str(gone)})
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind: str, thing: Json) -> None:
        while self.faults.hangs and not self.closing.is_set():
            time.sleep(0.05)
        line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _create(self, namespace: str, resource: str, _name: None, _part: None, query: Any, body: Json) -> None:
        admit(resource, body)
        if query.get("dryRun") == "All":
            if namespace not in self.faults.namespaces:
                raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
            self._send(201, body)
            return
        made = self.objects.create(resource, namespace, body)
        if resource == "jobs" and self.faults.lost_answers:
            self.faults.lost_answers -= 1
            self.close_connection = True
            return
        self._send(201, made)

    def _update(self, namespace: str, resource: str, name: str, part: str | None, _query: Any, body: Json) -> None:
        now = copy.deepcopy(self.objects.get(resource, namespace, name))
        if part == "status":
            now["status"] = body.get("status", {})
            now["metadata"]["resourceVersion"] = body["metadata"].get("resourceVersion")
            self._send(200, self.objects.replace(resource, now))
            return
        self._send(200, self.objects.replace(resource, body | {"status": now.get("status", {})}))

    def _patch(self, namespace: str, resource: str, name: str, part: str | None, _query: Any, body: Json) -> None:
        kind = self.headers["Content-Type"]
        if kind not in {"application/merge-patch+json", "application/strategic-merge-patch+json"}:
            raise Refused(415, "UnsupportedMediaType", f"{kind} is not supported here")
        body = (
            {"status": body.get("status", {})} if part == "status" else {k: v for k, v in body.items() if k != "status"}
        )
        self._send(200, self.objects.update(resource, namespace, name, lambda thing: merge(thing, body)))

    def _delete(self, namespace: str, resource: str, name: str, _part: None, _query: Any, body: Json) -> None:
        policy = body.get("propagationPolicy", "Background")
        self._send(200, self.objects.delete(resource, namespace, name, policy, body.get("gracePeriodSeconds")))

    def _send(self, status: int, thing: Json) -> None:
        with self.objects.changed:
            data = json.dumps(thing).encode()
        self._send_bytes(status, "application/json", data)

    def _send_bytes(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


def merge(thing: Json, patch: Json) -> None:
    """A merge patch, with the parts of the strategic one that we use."""
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            where = key.partition("/")[2]
            thing[where] = [one for one in thing.get(where, ()) if one not in value]
        elif value is None:
            thing.pop(key, None)
        elif isinstance(value, dict):
            merge(thing.setdefault(key, {}), value)
        elif key == "ownerReferences":
            known = {one["uid"]: one for one in thing.get(key, ())}
            thing[key] = list((known | {one["uid"]: one for one in value}).values())
        else:
            thing[key] = value


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a launcher that was killed in mid-call


class ApiServer:
    """The server on a free port of loopback."""

    def __init__(self, objects: Objects) -> None:
        self.faults = Faults()
        self._closing = threading.Event()
        members = {"objects": objects, "faults": self.faults, "closing": self._closing}
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), members))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
