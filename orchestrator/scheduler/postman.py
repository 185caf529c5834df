"""Delivers notifications: webhooks signed as https://www.standardwebhooks.com says, Slack, and e-mail.

What is to be delivered stands in the database, so any replica may send it, and one that dies leaves it to the others.
E-mail goes through NEUTRINO_SMTP_URL (`smtps://user:password@host:465`, or `smtp://…:587` with STARTTLS) from
NEUTRINO_SMTP_FROM. NEUTRINO_PUBLIC_URL is the dashboard's address in messages.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import smtplib
import ssl
import threading
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import NeutrinoError, ServerUnavailable
from orchestrator.domain.notifications import News
from orchestrator.scheduler.outbound import Outbound, Refused
from orchestrator.store import notifications
from orchestrator.store.notifications import Letter
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

_EVERY_SECONDS = 1.0
_SENDERS = 2  # a receiver that is slow holds up one of them, for as long as a message may take
_SMTP_TIMEOUT_SECONDS = 20.0


def signed(secret: str, news_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours, whole, and new."""
    moment = str(int(at.timestamp()))
    key = b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{news_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{b64encode(digest).decode()}"
    return {"webhook-id": news_id, "webhook-timestamp": moment, "webhook-signature": signature}


class Postman:
    """Takes what is due and sends it, from threads of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outbound = Outbound()
        self._public = os.environ.get("NEUTRINO_PUBLIC_URL", "").rstrip("/")
        self._ways = {"webhook": self._webhook, "slack": self._slack, "email": self._email}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="postman", daemon=True) for _ in range(_SENDERS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the letters in hand, then end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._outbound.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                sent = self.deliver()
            except ServerUnavailable:
                sent = 0
            except Exception:
                log.exception("the post stopped; going on")
                sent = 0
            if not sent:
                self._stopping.wait(_EVERY_SECONDS)

    def deliver(self) -> int:
        """Try everything that is due once, one letter after the other. Returns how many there were."""
        sent = 0
        while (letter := self._take()) is not None:
            error, again = self._send(letter)
            if error:
                log.warning("%s to a %s was not delivered: %s", letter.news.id, letter.kind, error)
            with self._database.transaction() as connection:
                notifications.settle(connection, letter, error, again=again)
            sent += 1
        return sent

    def _take(self) -> Letter | None:
        if self._stopping.is_set():
            return None
        with self._database.transaction() as connection:
            return next(iter(notifications.take(connection, 1)), None)

    def _send(self, letter: Letter) -> tuple[str | None, bool]:
        """What went wrong, if anything, and whether trying again can help."""
        url = f"{self._public}/jobs/{letter.news.job}" if self._public else None
        try:
            self._ways[letter.kind](letter, letter.news.model_copy(update={"url": url}))
        except Refused as error:
            return str(error), False
        except (NeutrinoError, OSError, smtplib.SMTPException) as error:
            return str(error) or type(error).__name__, True
        except Exception as error:
            # One letter that cannot even be tried must not keep all others from being sent.
            log.exception("%s cannot be sent at all", letter.news.id)
            return f"It cannot be sent. {type(error).__name__}: {error}", False
        return None, True

    def _webhook(self, letter: Letter, news: News) -> None:
        assert letter.secret is not None, "every webhook has one"
        body = json.dumps({"type": f"job.{news.state.lower()}", "data": news.model_dump(mode="json")}).encode()
        self._outbound.post(letter.target, body, signed(letter.secret, news.id, datetime.now(UTC), body))

    def _slack(self, letter: Letter, news: News) -> None:
        # The three characters that mean something: https://docs.slack.dev/messaging/formatting-message-text
        text = news.sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        link = f" <{news.url}|Open>" if news.url else ""
        self._outbound.post(letter.target, json.dumps({"text": text + link}).encode(), {})

    def _email(self, letter: Letter, news: News) -> None:
        server = os.environ.get("NEUTRINO_SMTP_URL")
        if not server:
            raise NeutrinoError("No mail server is configured.", hint="Set NEUTRINO_SMTP_URL on the schedulers.")
        message = EmailMessage()
        message["Subject"] = f"{news.name} ({news.job}) {news.state}"
        message["From"] = os.environ.get("NEUTRINO_SMTP_FROM", "neutrino@localhost")
        message["To"] = letter.target
        message["Message-ID"] = f"<{news.id}@neutrino>"
        message.set_content("\n\n".join(part for part in (news.sentence, news.url) if part) + "\n")
        _mail(server, message)


def _mail(server: str, message: EmailMessage) -> None:
    split = urlsplit(server)
    host, context = split.hostname or "", ssl.create_default_context()
    secure = split.scheme == "smtps"
    port = split.port or (465 if secure else 587)
    connection = (
        smtplib.SMTP_SSL(host, port, timeout=_SMTP_TIMEOUT_SECONDS, context=context)
        if secure
        else smtplib.SMTP(host, port, timeout=_SMTP_TIMEOUT_SECONDS)
    )
    with connection as smtp:
        if split.username:
            if not secure:
                smtp.starttls(context=context)  # no password goes over an open line
            smtp.login(unquote(split.username), unquote(split.password or ""))
        smtp.send_message(message)
