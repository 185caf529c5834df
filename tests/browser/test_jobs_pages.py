"""The pages of jobs and models in a real browser, before a real stack."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from orchestrator.domain.ids import decode, encode
from orchestrator.domain.spec import Command
from tests.acceptance.site import Site, row_id
from tests.browser.conftest import OpenAs
from tests.browser.looks import check
from tests.storm import processes

HARM = "<script>window.harm=1</script><img src=x onerror='window.harm=2'>\x1b[31mred\x1b]0;title\x07\u202eesrever"
METRICS = """
import orchestrator as nu
run = nu.run()
for step in range(40):
    for name in ("train/loss", "val/loss", "accuracy"):
        run.log_metrics({name: 1 / (step + 1) + len(name) / 100}, step=step)
print("\\x1b[32mINFO\\x1b[0m done")
"""
COUNT = "import time\nfor n in range(300):\n    print(f'line {n:04}', flush=True); time.sleep(0.02)\n"


@pytest.fixture(scope="module")
def runs(site: Site) -> list[str]:
    """Two runs of one program that wrote metrics, the older one first; the newer one has made a model."""
    made = [
        site.client.jobs.submit(
            Command(
                name="curves", command=[sys.executable, "-c", METRICS], params={"lr": lr}, labels={"team": "vision"}
            )
        )
        for lr in (1, 2)
    ]
    site.ended(*made)
    _model(site, decode("j", made[1].id))
    return [job.id for job in made]


def _model(site: Site, job: int) -> None:
    """A model with two versions and copies in every state, as training and migrating leave it."""
    (workspace,) = site.sql("SELECT min(id) FROM workspaces")[0]
    (model,) = site.sql(
        "INSERT INTO models (workspace_id, name, versions) VALUES (%s, 'digits', 1) RETURNING id", workspace
    )[0]
    (artifact,) = site.sql(
        "INSERT INTO artifacts (workspace_id, kind, job_id, epoch, digest, size, files) "
        "VALUES (%s, 'model', %s, 1, sha256('x'), 5000000, 3) RETURNING id",
        workspace,
        job,
    )[0]
    for store, state, error in (("s3://a", "verified", None), ("gs://b", "stale", None), ("az://c/d", "lost", HARM)):
        site.sql(
            "INSERT INTO replicas (artifact_id, store, prefix, state, error) VALUES (%s, %s, 'p', %s, %s)",
            artifact, store, state, error,
        )  # fmt: skip
    site.sql(
        "INSERT INTO model_versions (model_id, version, artifact_id, job_id, metrics, lineage) "
        "VALUES (%s, 1, %s, %s, %s, %s)",
        model, artifact, job, json.dumps({"val/accuracy": 0.97, HARM: 1.0}), json.dumps({"dataset": HARM}),
    )  # fmt: skip
    site.sql("INSERT INTO model_aliases (model_id, alias, version, set_by) VALUES (%s, 'prod', 1, %s)", model, HARM)


# Where a page shows a job that failed, or one of two runs.
_PAGES = {
    "lists": (
        "/jobs",
        "/jobs?q=state:failed+nonsense:x&sort=longest&col=reason&col=finished&col=attempts&col=kind",
        "/jobs/confirm?action=retry&job={failed}",
    ),
    "a job": ("/jobs/{failed}", "/jobs/{run}", "/jobs/{run}/log"),
    "its parts": ("/jobs/{run}/metrics", "/jobs/{run}/spec", "/jobs/compare?job={other}&job={run}"),
    "models": ("/models", "/models/digits", "/models/digits/1", "/models/digits/1/delete"),
}


@pytest.mark.parametrize("of", _PAGES)
def test_every_page_is_readable_in_light_and_in_dark_on_a_phone(
    site: Site, page: Page, runs: list[str], of: str
) -> None:
    failed = site.run("bash", "-c", "echo oops >&2; exit 3")
    site.ended(failed)
    for path in _PAGES[of]:
        check(page, site.stack.url + path.format(failed=failed.id, run=runs[1], other=runs[0]))


def test_hostile_texts_are_shown_and_do_nothing(site: Site, page: Page, runs: list[str]) -> None:
    code = f"import sys\nprint({HARM!r})\nprint({HARM!r}, file=sys.stderr)\nraise SystemExit(1)"
    job = site.run(sys.executable, "-c", code, labels={"team": "vision"})
    site.ended(job)
    site.sql(
        "UPDATE jobs SET message = %s, name = %s, user_name = %s, labels = %s WHERE id = %s",
        HARM, HARM, HARM, json.dumps({HARM: HARM}), row_id(job),
    )  # fmt: skip
    site.sql("INSERT INTO job_labels VALUES ((SELECT min(id) FROM workspaces), %s, %s, %s)", HARM, HARM, row_id(job))
    site.sql(
        "INSERT INTO metrics VALUES (%s, %s, 1, 1, 2, 0), (%s, %s, 2, 1, 1, 0)", row_id(job), HARM, row_id(job), HARM
    )
    site.sql("UPDATE events SET message = %s, actor = %s WHERE job_id = %s", HARM, HARM, row_id(job))
    places = (
        "/jobs", f"/jobs/{job.id}", f"/jobs/{job.id}/log", f"/jobs/{job.id}/metrics", f"/jobs/{job.id}/spec",
        f"/jobs/confirm?action=retry&job={job.id}", f"/jobs/compare?job={job.id}&job={runs[0]}", "/models/digits",
        "/models/digits/1",
    )  # fmt: skip
    for path in places:
        page.goto(site.stack.url + path)
        expect(page.locator("main")).to_contain_text("<script>window.harm=1</script>")
        assert page.evaluate("window.harm") is None, path
        assert page.locator("main script, main img[src=x]").count() == 0, path
        assert "\u202e" not in page.locator("main").inner_text(), path
    page.goto(f"{site.stack.url}/jobs/{job.id}/log")
    expect(page.locator(".log .stderr .f1").first).to_have_text(re.compile("^red"))


def test_the_list_is_searched_narrowed_and_kept(site: Site, page: Page, runs: list[str]) -> None:
    page.goto(f"{site.stack.url}/jobs")
    page.keyboard.press("/")
    page.keyboard.type("urve team=vision")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("summary", has_text="Kind").click()
    page.get_by_role("link", name=re.compile("^Command")).click()
    expect(page.locator("#q")).to_have_value("urve team=vision kind:command")
    page.locator("summary", has_text="Save view").click()
    page.get_by_label("Name of this view").fill("my <b>curves</b>")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Clear all").click()
    page.get_by_role("link", name="my <b>curves</b>").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#live-state")).to_have_attribute("data-state", "on")
    page.keyboard.press("j")
    expect(page.locator("tr[aria-selected=true]")).to_have_count(1)
    page.locator("#rows").evaluate("part => htmx.trigger(part, 'live')")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.stack.url}/jobs/{runs[0]}")
    page.goto(f"{site.stack.url}/jobs?q={runs[1].upper()}")
    expect(page).to_have_url(f"{site.stack.url}/jobs/{runs[1]}")


def test_pages_of_the_list_go_both_ways_and_hold_their_filter(site: Site, page: Page) -> None:
    site.client.jobs.submit_many([_waiting(f"many-{n:03}") for n in range(120)])
    page.goto(f"{site.stack.url}/jobs?q=many&sort=name")
    expect(page.locator("tbody b").first).to_have_text("many-000")
    page.get_by_role("link", name="Next").click()
    page.get_by_role("link", name="Next").click()
    expect(page.locator("tbody tr")).to_have_count(20)
    expect(page.locator("tbody b").last).to_have_text("many-119")
    page.get_by_role("link", name="Previous").click()
    expect(page.locator("tbody b").first).to_have_text("many-050")
    expect(page.locator("#bulk header")).to_contain_text("120 jobs")


def _waiting(name: str) -> dict[str, object]:
    """A job that waits, because no pool has such a GPU."""
    resources = {"gpu": "H100:8"}
    spec = {"command": ["true"], "resources": resources}
    return {"apiVersion": "neutrino/v1", "kind": "Command", "metadata": {"name": name}, "spec": spec}


def test_many_are_cancelled_and_retried_after_a_look_without_javascript(site: Site, open_as: OpenAs) -> None:
    made = site.client.jobs.submit_many([_waiting("bulk") for _ in range(60)])
    page = open_as("submitter", java_script_enabled=False)
    page.goto(f"{site.stack.url}/jobs?q=name:bulk")
    page.get_by_label(f"Select {made[-1].id}").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.locator("h1")).to_have_text("Cancel 1 job?")
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.locator(".notice")).to_have_text("1 job cancelled.")
    page.get_by_label("All that match").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.locator("h1")).to_have_text("Cancel 59 jobs?")
    expect(page.locator("main")).to_contain_text("1 of the chosen jobs is not in a state")
    page.get_by_role("button", name="Cancel 59 jobs").click()
    expect(page.locator(".notice")).to_have_text("59 jobs cancelled.")
    assert site.ends(*made) == {"CANCELLED": 60}
    page.goto(f"{site.stack.url}/jobs/{made[0].id}")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".verdict")).to_contain_text("Queued")
    expect(page.locator(".verdict")).to_contain_text("H100")


def test_a_running_job_is_asked_to_save_itself_and_cancelled(site: Site, open_as: OpenAs) -> None:
    page = open_as("submitter", forgive=("409",))
    job = site.run("bash", "-c", "echo up; sleep 60")
    site.running(job, "up")
    page.goto(f"{site.stack.url}/jobs/{job.id}")
    page.get_by_role("button", name="Checkpoint").click()
    expect(page.locator(".events")).to_contain_text("Asked to take a checkpoint now.")
    page.locator("summary", has_text="Migrate").click()
    page.get_by_label("To the cloud").select_option("local")
    page.get_by_role("button", name="Show what it takes").click()
    expect(page.locator("h1")).to_contain_text("runs on local already")
    page.goto(f"{site.stack.url}/jobs/{job.id}")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name=f"Cancel {job.id}").click()
    expect(page.locator(".verdict .state")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()  # without another look at the page
    expect(page.locator("summary", has_text="Cancel")).to_have_count(0)


def test_viewers_can_do_nothing(site: Site, open_as: OpenAs, runs: list[str]) -> None:
    page = open_as("viewer", forgive=("403",))
    for path in ("/jobs", f"/jobs/{runs[0]}"):
        page.goto(site.stack.url + path)
        assert page.locator("main input[type=checkbox][name=job], main form[action$=retry]").count() == 0
    answer = page.goto(f"{site.stack.url}/jobs/confirm?action=cancel&all=true")
    assert answer is not None
    assert answer.status == 403


def test_rows_change_where_they_are_and_new_jobs_are_only_counted(site: Site, page: Page) -> None:
    (first,) = site.client.jobs.submit_many([_waiting("jump")])
    page.goto(f"{site.stack.url}/jobs?q=name:jump")
    expect(page.locator("#live-state")).to_have_attribute("data-state", "on")
    site.client.jobs.submit_many([_waiting("jump") for _ in range(3)])
    expect(page.locator(".new")).to_have_text("3 new — show")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody input[type=checkbox]").check()
    first.cancel()
    expect(page.locator("tbody .state")).to_have_text("Cancelled")
    expect(page.locator("tbody input[type=checkbox]")).to_be_checked()
    page.locator(".new a").click()
    expect(page.locator("tbody tr")).to_have_count(4)


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["stopped", "offline"])
def test_no_line_of_a_log_is_lost_or_doubled_over_a_break(site: Site, open_as: OpenAs, fault: str) -> None:
    page = open_as(forgive=("ERR_", "htmx:error", "Failed to fetch"))
    job = site.run(sys.executable, "-c", COUNT)
    page.goto(f"{site.stack.url}/jobs/{job.id}")
    expect(page.locator(".log")).to_contain_text("line 0020")
    _break(site, page, fault, lambda: site.running(job, "line 0150"))
    expect(page.locator(".log")).to_contain_text("line 0299")
    shown = page.locator(".log li > span").all_inner_texts()
    assert [line for line in shown if line.startswith("line")] == [f"line {n:04}" for n in range(300)]
    expect(page.locator(".verdict .state")).to_have_text("Succeeded")


def _break(site: Site, page: Page, fault: str, meanwhile: Callable[[], object]) -> None:
    if fault == "offline":
        page.context.set_offline(True)
        meanwhile()
        page.context.set_offline(False)
        return
    api = site.service("api")
    assert processes.send(api, signal.SIGSTOP)
    try:
        page.wait_for_timeout(1500)
    finally:
        assert processes.send(api, signal.SIGCONT)


def test_a_log_is_searched_filtered_linked_and_downloaded(site: Site, page: Page) -> None:
    code = """
import sys
for n in range(1200):
    print(f"[rank{n % 4}]: step {n}", file=sys.stderr if n % 100 == 0 else sys.stdout)
"""
    job = site.run(sys.executable, "-c", code)
    site.ended(job)
    url = f"{site.stack.url}/jobs/{job.id}/log"
    page.goto(url)
    expect(page.locator(".log li")).to_have_count(500)
    page.get_by_role("link", name="Earlier lines").click()
    expect(page.locator(".log li")).to_have_count(500)
    page.get_by_label("Stream").select_option("stderr")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".log li")).to_have_count(12)
    page.goto(f"{url}?rank=3&q=STEP+11")
    assert page.locator(".log li > span").all_inner_texts() == [
        f"[rank3]: step {n}" for n in range(1200) if n % 4 == 3 and str(n).startswith("11")
    ]
    page.goto(f"{url}?q=step+402")
    number = (page.locator(".log li").first.get_attribute("id") or "").removeprefix("L")
    page.goto(f"{url}?at={number}#L{number}")
    expect(page.locator("li:target")).to_contain_text("step 402")
    expect(page.locator("li:target")).to_be_in_viewport()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    lines = download.value.path().read_text().splitlines()
    assert len([line for line in lines if "step" in line]) == 1200


def test_curves_are_drawn_and_runs_compared(site: Site, page: Page, runs: list[str]) -> None:
    page.goto(f"{site.stack.url}/jobs/{runs[1]}")
    plots = page.locator("[aria-labelledby=metrics-title] .plot")
    expect(plots).to_have_count(2)  # the two losses share one
    expect(plots.first.locator("canvas")).to_be_visible()
    expect(plots.last).to_contain_text("val/loss")
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator("tr.differs")).to_contain_text("params.lr")
    expect(page.locator(".plot")).to_have_count(3)
    for job in runs:
        expect(page.locator(".plot").first).to_contain_text(job)
    page.goto(f"{site.stack.url}/jobs/{runs[1]}/spec")
    expect(page.locator(".diff .out")).to_contain_text("lr: 1")
    expect(page.locator(".diff .in")).to_contain_text("lr: 2")


def test_what_is_copied_submits_the_same(site: Site, page: Page, runs: list[str]) -> None:
    page.goto(f"{site.stack.url}/jobs/{runs[0]}/spec")
    python = page.locator(".recipe pre").last.inner_text()
    handed: list[dict[str, object]] = []

    class Client:
        jobs = type("Jobs", (), {"submit": staticmethod(handed.append)})

    exec(python.replace("from orchestrator import Client", ""), {"Client": Client})
    (document,) = handed
    again = site.client.jobs.submit(document)
    site.ended(again)
    page.goto(f"{site.stack.url}/jobs/{again.id}/spec?with={runs[0]}")
    expect(page.locator("main")).to_contain_text("Nothing: both were asked to do the same.")


def test_the_first_page_is_small(site: Site, page: Page, runs: list[str]) -> None:
    """Everything that a first visit loads, as it comes over the wire."""
    sizes: list[int] = []
    for path in ("/jobs", f"/jobs/{runs[1]}", "/models/digits"):
        page.goto("about:blank")
        page.goto(site.stack.url + path)
        expect(page.locator("#live-state")).to_have_attribute("data-state", "on")
        sizes.append(
            page.evaluate(
                "performance.getEntries().filter(e => e.encodedBodySize).reduce((sum, e) => sum + e.encodedBodySize, 0)"
            )
        )
    assert max(sizes) < 100_000, sizes


def test_an_unknown_job_is_a_page_that_says_so(site: Site, open_as: OpenAs) -> None:
    page = open_as(forgive=("404",))
    for path in (f"/jobs/{encode('j', 2**40)}", "/jobs/nonsense", "/models/nothing"):
        answer = page.goto(site.stack.url + path)
        assert answer is not None
        assert answer.status == 404
        expect(page.locator("h1")).to_contain_text("There is no")
