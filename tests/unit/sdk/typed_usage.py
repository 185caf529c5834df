"""What type checkers accept and refuse of the SDK; `test_typing` runs mypy on it. Nothing here is executed."""

from __future__ import annotations

import orchestrator as nu


@nu.job(gpu="T4", retries=2, placement={"clouds": ["aws"]})
def train(lr: float = 0.1) -> float:
    """A function that is also a job."""
    return lr


def accepted() -> None:
    """As people write it."""
    nu.Train(name="a", workload="image-classifier", dataset="builtin://digits", max_cost_usd=2, timeout="1h")
    nu.Train(
        name="a",
        workload="image-classifier",
        params={"epochs": 8},
        resources={"gpu": "T4:1", "memory": "8Gi"},
        placement=nu.Placement(clouds=["aws", "gcp"], spot="prefer"),
        retry={"max": 2, "on": ["infra"]},
        outputs=nu.Outputs(model="digits"),
    )
    nu.Command(name="a", command=["true"], timeout=60, env={"A": "1"}, resources=nu.Resources(gpu="T4", cpu=0.5))
    nu.Command(name="a", entrypoint="a.b:c", placement={"clouds": ["local"], "max_cost_usd": 2})
    rate: float = train(lr=0.1)
    name: str = train.submit(lr=rate).id
    train.map([{"lr": name}])


def refused() -> None:
    """Each of these is an error, or the comment on it would be one."""
    nu.Train(workload="image-classifier")  # type: ignore[call-arg]
    nu.Train(name="a", workload="image-classifier", epochs=8)  # type: ignore[call-arg]
    nu.Placement(clouds=["moon"])  # type: ignore[list-item]
    nu.Command(name="a", command="true")  # type: ignore[arg-type]
    nu.Resources(gpu=1)  # type: ignore[arg-type]
    train.submit(lr="fast")  # type: ignore[arg-type]
