"""Notifications arrive, signed, at least once; and nothing is sent where it must not be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.domain.ids import encode
from orchestrator.domain.notifications import CreateNotification, DeliveryView
from orchestrator.domain.state import JobState
from orchestrator.scheduler.outbound import NETWORKS
from orchestrator.scheduler.postman import Postman
from orchestrator.store import jobs, notifications
from tests.integration.store.plane import Plane, command


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with the statuses it is given, then with 204."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", "http://127.0.0.1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret-part"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver on this machine, which an operator has allowed."""
    monkeypatch.setenv(NETWORKS, "127.0.0.1/32")
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def subscribe(plane: Plane, **wanted: Any) -> str | None:
    with plane.database.transaction() as connection:
        given = {"name": "ops", "kind": "webhook"} | wanted
        return notifications.create(connection, plane.workspace, CreateNotification.model_validate(given)).secret


def cancel(plane: Plane, job_id: int) -> None:
    with plane.database.transaction() as connection:
        jobs.cancel(connection, job_id, "ada")


def outcome(plane: Plane, name: str = "ops") -> DeliveryView:
    with plane.database.transaction() as connection:
        return notifications.deliveries(connection, plane.workspace, name, 1)[0]


def hurry(plane: Plane) -> None:
    """Let what waits be due now."""
    with plane.database.transaction() as connection:
        connection.execute(text("UPDATE deliveries SET next_at = clock_timestamp() WHERE next_at IS NOT NULL"))


def test_a_webhook_gets_signed_news_of_the_states_it_wants(plane: Plane, receiver: Receiver) -> None:
    secret = subscribe(plane, target=receiver.url, states=["CANCELLED"])
    assert secret is not None
    (job_id,) = plane.submit()
    postman = Postman(plane.database)
    assert postman.deliver() == 0
    cancel(plane, job_id)
    assert postman.deliver() == 1
    ((path, headers, body),) = receiver.received
    assert path == "/hooks/secret-part"
    told = json.loads(body)
    assert told["type"] == "job.cancelled"
    assert told["data"]["job"] == encode("j", job_id)
    assert told["data"]["reason"] == "cancelled_by_user"
    # Checked the way https://www.standardwebhooks.com tells a receiver to.
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert outcome(plane).delivered_at is not None
    assert postman.deliver() == 0


def test_only_jobs_with_the_labels_are_told_of(plane: Plane, receiver: Receiver) -> None:
    subscribe(plane, target=receiver.url, states=["CANCELLED"], labels={"team": "vision"})
    cancel(plane, *plane.submit())
    cancel(plane, *plane.submit(command(labels={"team": "vision", "x": "y"})))
    assert Postman(plane.database).deliver() == 1


def test_what_fails_for_now_is_sent_again_with_the_same_id_and_what_fails_for_good_is_not(
    plane: Plane, receiver: Receiver
) -> None:
    subscribe(plane, target=receiver.url, states=["CANCELLED"])
    cancel(plane, *plane.submit())
    receiver.answers = [503]
    postman = Postman(plane.database)
    assert postman.deliver() == 1
    waiting = outcome(plane)
    assert waiting.next_at is not None
    assert "503" in (waiting.error or "")
    assert postman.deliver() == 0  # not before its time
    hurry(plane)
    receiver.answers = [404]
    assert postman.deliver() == 1
    given_up = outcome(plane)
    assert (given_up.attempts, given_up.next_at, given_up.delivered_at) == (2, None, None)
    first, second = (headers["webhook-id"] for _, headers, _ in receiver.received)
    assert first == second


def test_a_sender_that_dies_leaves_the_letter_to_the_others(plane: Plane, receiver: Receiver) -> None:
    subscribe(plane, target=receiver.url, states=["CANCELLED"])
    cancel(plane, *plane.submit())
    with plane.database.transaction() as connection:
        assert len(notifications.take(connection, 10)) == 1  # and never says what became of it
    assert Postman(plane.database).deliver() == 0
    hurry(plane)
    assert Postman(plane.database).deliver() == 1
    assert len(receiver.received) == 1


def test_redirects_lead_nowhere(plane: Plane, receiver: Receiver) -> None:
    subscribe(plane, target=receiver.url, states=["CANCELLED"])
    cancel(plane, *plane.submit())
    receiver.answers = [302]
    Postman(plane.database).deliver()
    assert len(receiver.received) == 1
    assert "302" in (outcome(plane).error or "")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://2130706433:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
    ],
)
def test_addresses_that_are_not_public_are_refused(
    plane: Plane, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.delenv(NETWORKS)
    subscribe(plane, target=target.format(port=receiver.server_port), states=["CANCELLED"])
    cancel(plane, *plane.submit())
    Postman(plane.database).deliver()
    given_up = outcome(plane)
    assert "not a public address" in (given_up.error or "")
    assert given_up.next_at is None
    assert receiver.received == []


def test_slack_gets_a_sentence_in_which_nothing_is_markup(plane: Plane, receiver: Receiver) -> None:
    subscribe(plane, kind="slack", target=receiver.url, states=["QUEUED"])
    with plane.database.transaction() as connection:
        notifications.try_out(connection, plane.workspace, "ops")
        connection.execute(text("UPDATE deliveries SET message = '<!channel> & more'"))
    Postman(plane.database).deliver()
    ((_, headers, body),) = receiver.received
    assert json.loads(body) == {"text": "trial (j-0) QUEUED: &lt;!channel&gt; &amp; more"}
    assert "webhook-signature" not in headers


def test_mail_goes_through_the_configured_server(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[str] = []
        thread = threading.Thread(target=_serve_mail, args=(server, heard))
        thread.start()
        monkeypatch.setenv("NEUTRINO_SMTP_URL", f"smtp://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("NEUTRINO_SMTP_FROM", "neutrino@example.org")
        monkeypatch.setenv("NEUTRINO_PUBLIC_URL", "https://neutrino.example.org/")
        subscribe(plane, kind="email", target="ada@example.org", states=[JobState.CANCELLED])
        (job_id,) = plane.submit()
        cancel(plane, job_id)
        Postman(plane.database).deliver()
        thread.join(timeout=120)
    said = "\n".join(heard)
    assert "rcpt to:<ada@example.org>" in said.lower()
    assert f"({encode('j', job_id)}) CANCELLED" in said
    assert f"https://neutrino.example.org/jobs/{encode('j', job_id)}" in said
    assert outcome(plane).delivered_at is not None


def _serve_mail(server: socket.socket, heard: list[str]) -> None:
    """As much of SMTP as one mail needs."""
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as stream:

        def say(line: str) -> None:
            stream.write(f"{line}\r\n".encode())
            stream.flush()

        say("220 here")
        in_data = False
        for raw in stream:
            line = raw.decode().rstrip()
            heard.append(line)
            if in_data:
                in_data = line != "."
                if not in_data:
                    say("250 taken")
            elif line.lower() == "data":
                in_data = True
                say("354 go on")
            elif line.lower() == "quit":
                say("221 bye")
                return
            else:
                say("250 fine")


def test_a_letter_that_cannot_even_be_tried_keeps_no_other_from_being_sent(plane: Plane, receiver: Receiver) -> None:
    subscribe(plane, name="broken", target=receiver.url, states=["CANCELLED"])
    subscribe(plane, target=receiver.url, states=["CANCELLED"])
    with plane.database.transaction() as connection:  # as one that an older release has accepted
        connection.execute(text("UPDATE notifications SET target = 'https://h.example/ü' WHERE name = 'broken'"))
    cancel(plane, *plane.submit())
    assert Postman(plane.database).deliver() == 2
    assert outcome(plane).delivered_at is not None
    given_up = outcome(plane, "broken")
    assert given_up.next_at is None
    assert "cannot be sent" in (given_up.error or "")


@pytest.mark.parametrize(
    "target", ["https://h.example/ü", f"https://{'a' * 64}.com/", "https://a..b/", "ftp://x.org/", "https://u:p@x.org/"]
)
def test_urls_that_no_request_can_be_made_of_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="is not an http"):
        CreateNotification.model_validate({"name": "ops", "kind": "webhook", "target": target})
