"""The storm's users. Each writes down exactly what it was told, and what it was not."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from orchestrator.domain.errors import Conflict, NeutrinoError, ServerUnavailable
from orchestrator.domain.spec import SourceFile
from orchestrator.domain.state import JobState
from orchestrator.domain.views import JobAccepted, JobSummary
from orchestrator.sdk.client import Client
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from tests.storm.recipes import Recipe, small, some

_BATCH = 40


class Answer(StrEnum):
    """What a request was answered: done, refused because the job had moved on, or nothing that one could rely on."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Submission:
    """One wish of a user, and all that was said about it. `job` is None when nobody answered."""

    number: str
    recipe: Recipe
    job: str | None = None
    requests: list[tuple[str, Answer]] = field(default_factory=list)
    """Cancels and retries, in order, with their answers."""
    seen: set[tuple[JobState, int]] = field(default_factory=set)
    """States and epochs that were shown."""

    def was(self, *states: JobState) -> bool:
        """Whether it was ever shown in one of these states."""
        return any(state in states for state, _ in self.seen)


class User:
    """Submits, cancels, retries and looks, as its random numbers say, until told to stop."""

    def __init__(self, name: str, client: Client, files: tuple[SourceFile, ...], seed: int, token: str) -> None:
        self._name = name
        self._client = client
        self._files = files
        self._choose = random.Random(f"{name} {seed}")
        self._http = httpx.Client(
            base_url=client.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )
        self.submissions: list[Submission] = []
        self.answers: Counter[str] = Counter()
        self.surprises: list[str] = []
        """Answers that a storm does not excuse."""
        self._by_job: dict[str, Submission] = {}
        self._acts: dict[Callable[[], None], int] = {
            self._submit: 6,
            self._submit_many: 3,
            self._submit_twice: 2,
            self._cancel: 2,
            self._retry: 2,
            self._look: 4,
        }

    def run(self, stop: threading.Event, busy: threading.Event) -> None:
        """Live. While `busy` is set, submit nothing more."""
        submits = {self._submit, self._submit_many, self._submit_twice}
        while not stop.is_set():
            act = self._choose.choices(list(self._acts), list(self._acts.values()))[0]
            try:
                if not (act in submits and busy.is_set()):
                    act()
            except NeutrinoError as error:
                self.surprises.append(f"{self._name}: {type(error).__name__}: {error}")
            stop.wait(self._choose.expovariate(10))
        self._http.close()

    def _new(self, recipe: Recipe) -> Submission:
        submission = Submission(f"{self._name}-{len(self.submissions)}", recipe)
        self.submissions.append(submission)
        return submission

    def _accepted(self, submission: Submission, view: JobAccepted | JobSummary) -> None:
        submission.job = view.id
        self._by_job[view.id] = submission
        self.answers["accepted"] += 1

    def _submit(self) -> None:
        submission = self._new(some(self._choose))
        try:
            job = self._client.jobs.submit(submission.recipe.spec(submission.number, self._name, self._files))
        except ServerUnavailable:
            self.answers["submits without an answer"] += 1
        else:
            self._accepted(submission, job.view)

    def _submit_many(self) -> None:
        wanted = [self._new(small(self._choose)) for _ in range(_BATCH)]
        try:
            jobs = self._client.jobs.submit_many(
                [one.recipe.spec(one.number, self._name, self._files) for one in wanted]
            )
        except ServerUnavailable:
            self.answers["submits without an answer"] += len(wanted)
        else:
            for one, job in zip(wanted, jobs, strict=True):
                self._accepted(one, job.view)

    def _submit_twice(self) -> None:
        """The same request under one key, twice at once."""
        submission = self._new(some(self._choose))
        body = submission.recipe.spec(submission.number, self._name, self._files).document()
        key = {"Idempotency-Key": str(uuid.UUID(int=self._choose.getrandbits(128)))}
        views: list[JobAccepted] = []

        def send() -> None:
            try:
                answer = self._http.post("/v1/jobs", json=body, headers=key)
            except httpx.TransportError:
                return
            if answer.status_code == 202:
                views.append(JobAccepted.model_validate_json(answer.content))
            elif answer.status_code != 503:
                self.surprises.append(f"{self._name}: {answer.status_code} to a submit: {answer.text[:300]}")

        both = [threading.Thread(target=send) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        if len({view.id for view in views}) > 1:
            self.surprises.append(f"{self._name}: one key, two jobs: {views}")
        if views:
            self._accepted(submission, views[0])
        else:
            self.answers["submits without an answer"] += 1

    def _any(self, wanted: Callable[[Submission], bool]) -> tuple[Submission, JobHandle[Sync]] | None:
        """One of the latest jobs that were accepted and are wanted."""
        known = [one for one in self.submissions[-200:] if one.job is not None and wanted(one)]
        if not known:
            return None
        submission = self._choose.choice(known)
        assert submission.job is not None
        accepted = JobAccepted(id=submission.job, name="storm", state=JobState.QUEUED)
        return submission, JobHandle(self._client.driver, accepted)

    def _request(
        self, what: str, ask: Callable[[JobHandle[Sync]], JobSummary], wanted: Callable[[Submission], bool]
    ) -> None:
        if (found := self._any(wanted)) is None:
            return
        submission, job = found
        try:
            view = ask(job)
        except Conflict:
            answer = Answer.REFUSED
        except ServerUnavailable:
            answer = Answer.UNKNOWN
        else:
            answer = Answer.DONE
            submission.seen.add((view.state, view.epoch))
        submission.requests.append((what, answer))
        self.answers[f"{what}: {answer}"] += 1

    def _cancel(self) -> None:
        self._request("cancel", lambda job: job.cancel(), lambda one: not one.was(JobState.SUCCEEDED))

    def _retry(self) -> None:
        """Mostly of jobs that have failed or been cancelled, so that it is not always refused."""
        ended = self._choose.random() < 0.9
        again = (JobState.FAILED, JobState.CANCELLED)
        self._request("retry", lambda job: job.retry(), lambda one: not ended or one.was(*again))

    def _look(self) -> None:
        try:
            for job in self._client.jobs.list(label={"client": self._name}, limit=20):
                submission = self._by_job.get(job.id)
                if submission is not None and isinstance(job.view, JobSummary):
                    submission.seen.add((job.view.state, job.view.epoch))
                    self.answers["states shown"] += 1
        except ServerUnavailable:
            self.answers["looks without an answer"] += 1
