"""The SDK against the running platform: functions as jobs, sweeps, and the asynchronous client."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import orchestrator as nu
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client

MODULE = """
import orchestrator as nu
from pathlib import Path

@nu.job(include=["factor.txt"], model="products")
def multiply(a: float, b: float = 2.0):
    run = nu.run()
    product = a * b * float(Path("factor.txt").read_text())
    run.log_metrics({"product": product}, step=0)
    run.log_metrics({"product": product + 1}, step=1)
    run.output_dir.joinpath("product.txt").write_text(str(product))
    print("product", product)
    return product

@nu.job
def breaks(how: str):
    print("about to break")
    raise ValueError(how)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "multiplying.py").write_text(MODULE)
    (tmp_path / "factor.txt").write_text("10")
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("multiplying", tmp_path / "multiplying.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "multiplying", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def test_a_sweep_runs_there_what_the_function_does_here(module: ModuleType, client: Client, tmp_path: Path) -> None:
    here = module.multiply(3, b=0.5)
    jobs = module.multiply.on(client).map([{"a": 3, "b": 0.5}, {"a": 4}])
    for job in jobs:
        job.wait(timeout="120s")
    assert [job.metrics["product"].last for job in jobs] == [here + 1, 81.0]
    assert [point for _, point in jobs[0].metrics["product"].points] == [here, here + 1]
    assert "product 15.0" in [line.text for line in jobs[0].logs()]
    assert {job.model.ref for job in jobs} == {"products@1", "products@2"}
    jobs[0].model.download(tmp_path / "home")
    assert (tmp_path / "home" / "product.txt").read_text() == str(here)


def test_a_function_that_raises_brings_its_traceback(module: ModuleType, client: Client) -> None:
    job = module.breaks.on(client).submit("badly")
    with pytest.raises(nu.JobFailed, match="badly") as caught:
        job.wait(timeout="120s")
    assert caught.value.reason == "user_error"
    assert "about to break" in caught.value.log_tail
    assert any("multiplying.py" in line for line in caught.value.log_tail)


def test_lines_are_followed_while_they_are_written(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo last"
    job = client.jobs.submit(nu.Command(name="gated", command=("sh", "-c", waits)))
    lines = (line.text for line in job.logs(follow=True) if line.stream == "stdout")
    assert next(lines) == "first"  # it came although the job has not ended, and cannot before the gate opens
    gate.touch()
    assert list(lines) == ["last"]


def test_a_batch_with_a_fault_is_refused_as_a_whole(client: Client) -> None:
    good = nu.Command(name="whole", command=("true",)).document()
    with pytest.raises(nu.InvalidSpec, match=r"jobs\[1\]\.spec"):
        client.jobs.submit_many([good, {**good, "spec": {"comand": ["true"]}}])
    assert list(client.jobs.list(name="whole")) == []


def test_lists_page_through_everything(client: Client) -> None:
    spec = nu.Command(name="many", command=("true",))
    submitted = client.jobs.submit_many([spec] * 30)
    assert len(submitted) == len({job.id for job in submitted}) == 30
    listed = list(client.jobs.list(name="many", since="10m"))
    assert [job.id for job in listed] == [job.id for job in reversed(submitted)]
    assert len(list(client.jobs.list(name="many", limit=7))) == 7
    for job in submitted:
        job.wait(timeout="120s")


def test_the_async_client_does_the_same(stack: Stack) -> None:
    async def story() -> tuple[str, list[str], list[str], str]:
        async with nu.AsyncClient(stack.url, stack.admin_token) as client:
            spec = nu.Command(name="async", command=("echo", "hello"))
            first, second = await asyncio.gather(client.jobs.submit(spec), client.jobs.submit(spec))
            await asyncio.gather(first.wait(timeout=120), second.wait(timeout=120))
            lines = [line.text async for line in first.logs(follow=True)]
            listed = [job.id async for job in client.jobs.list(name="async")]
            why = await second.why()
            assert sorted(listed) == sorted([first.id, second.id])
            return first.state, lines, listed, why.message

    state, lines, listed, message = asyncio.run(story())
    assert (state, lines, len(listed)) == ("SUCCEEDED", ["hello"], 2)
    assert message
