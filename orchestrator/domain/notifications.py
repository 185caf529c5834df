"""Notifications: who is told what about which jobs, and what they are sent."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from orchestrator.domain.model import Line, Model
from orchestrator.domain.spec import LabelKey, LabelValue, Name
from orchestrator.domain.state import JobState

NotificationKind = Literal["webhook", "slack", "email"]
_EMAIL = re.compile(r"[^\s@<>,;]+@[^\s@<>,;.]+(\.[^\s@<>,;.]+)+")


def _distinct(states: tuple[JobState, ...]) -> tuple[JobState, ...]:
    return tuple(dict.fromkeys(states))


class CreateNotification(Model):
    """Tell `target` when a job comes to one of `states`; with `labels`, only about jobs that have all of them.

    The target of `webhook` and `slack` is a URL, that of `email` an address.
    """

    name: Name
    kind: NotificationKind
    target: Annotated[Line, StringConstraints(min_length=3, max_length=2048)]
    states: Annotated[
        tuple[JobState, ...], Field(min_length=1, max_length=len(JobState)), AfterValidator(_distinct)
    ] = (JobState.FAILED,)
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)

    @field_validator("target")
    @classmethod
    def _target_fits(cls, target: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if kind == "email" and not _EMAIL.fullmatch(target):
            raise ValueError("is not an e-mail address")
        if kind in {"webhook", "slack"} and not _is_url(target):
            raise ValueError("is not an http(s) URL without a user and a fragment")
        return target


def _is_url(text: str) -> bool:
    try:
        split = urlsplit(text)
        (split.hostname or "").encode("idna")  # a label that is empty or too long raises
        return text.isascii() and (
            split.scheme in {"http", "https"} and bool(split.hostname) and split.port != 0 and "@" not in split.netloc
        )
    except ValueError:
        return False


class NotificationView(Model):
    """A notification. `target` is shown without what comes after the host, where services put their secrets."""

    name: str
    kind: NotificationKind
    target: str
    states: tuple[JobState, ...]
    labels: dict[str, str]
    created_at: datetime


class NotificationCreated(NotificationView):
    """A notification that was just made. `secret` signs what a webhook is sent, and is shown this once."""

    secret: str | None = None


class DeliveryView(Model):
    """One message to one target: on its way, delivered, or given up."""

    id: str
    job: str | None
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    error: str | None


class News(Model):
    """What is told: a job has come to a state. `url` leads to it on the dashboard, where its address is known."""

    id: str
    at: datetime
    workspace: str
    job: str
    name: str
    state: JobState
    reason: str
    message: str
    epoch: int
    url: str | None = None

    @property
    def sentence(self) -> str:
        """The news in one line for people."""
        return f"{self.name} ({self.job}) {self.state}: {self.message}"
