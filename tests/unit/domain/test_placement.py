"""Where jobs go, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.freight import Freight
from orchestrator.domain.placement import PoolState, Shape, place, share_out
from orchestrator.domain.spec import Cloud, Command, Placement, Resources, Spot
from orchestrator.domain.views import Misfit


def _pool(name: str, **changes: object) -> PoolState:
    known: dict[str, object] = {
        "id": 1,
        "cloud": "local",
        "gpu": None,
        "workers": 1,
        "slots": 4,
        "running": 0,
        "dispatched": 0,
    }
    return PoolState(name=name, **(known | changes))  # type: ignore[arg-type]


CPU, T4, TWO_T4 = _pool("cpu"), _pool("t4", cloud="aws", gpu="T4:1"), _pool("t4x2", cloud="gcp", gpu="T4:2")
BUSY = _pool("busy", running=4, dispatched=8)
CHEAP, DEAR = _pool("cheap", id=2, spot=True, usd_per_hour=0.25), _pool("dear", id=3, usd_per_hour=0.75)
BUSY_SPOT = _pool("busy", id=4, spot=True, running=4)
EMPTY = _pool("empty", workers=0, slots=0)
DRAINING = _pool("draining", workers=2, slots=0)
GONE = _pool("gone", cloud="gcp", workers=0, slots=0)
LEAVING = _pool("leaving", cloud="gcp", slots=0)
HEAVY = Freight(size=3 * 1024**3, stores=("gs://b",))

FITS: list[tuple[str, Shape, list[PoolState], list[str]]] = [
    ("nothing asked, any pool; one without an unneeded GPU first", Shape(), [T4, CPU], ["cpu", "t4"]),
    ("free slots before busy ones", Shape(), [BUSY, CPU], ["cpu", "busy"]),
    ("workers before none", Shape(), [EMPTY, CPU], ["cpu", "empty"]),
    ("equal pools by name", Shape(), [_pool("b"), _pool("a")], ["a", "b"]),
    ("spot is not taken unasked", Shape(), [CHEAP, CPU], ["cpu"]),
    (
        "spot preferred, but not to wait for it",
        Shape(spot=Spot.PREFER),
        [CPU, BUSY_SPOT, CHEAP],
        ["cheap", "cpu", "busy"],
    ),
    ("nothing but spot", Shape(spot=Spot.ONLY), [CHEAP, CPU], ["cheap"]),
    ("a spot pool that is named", Shape(pool="cheap"), [CHEAP, CPU], ["cheap"]),
    ("nothing too dear", Shape(max_rate=0.5, spot=Spot.PREFER), [DEAR, CHEAP, CPU], ["cheap", "cpu"]),
    ("a GPU asked", Shape(gpu="T4:1"), [CPU, T4, TWO_T4], ["t4", "t4x2"]),
    ("two GPUs asked", Shape(gpu="T4:2"), [CPU, T4, TWO_T4], ["t4x2"]),
    ("another GPU asked", Shape(gpu="A100:1"), [CPU, T4, TWO_T4], []),
    ("a cloud asked", Shape(clouds=(Cloud.AWS,)), [CPU, T4, TWO_T4], ["t4"]),
    ("two clouds asked", Shape(clouds=(Cloud.AWS, Cloud.GCP)), [CPU, T4, TWO_T4], ["t4", "t4x2"]),
    ("a pool asked", Shape(pool="t4"), [CPU, T4], ["t4"]),
    ("a pool that is not there", Shape(pool="nope"), [CPU, T4], []),
    ("two nodes", Shape(nodes=2), [CPU, T4], []),
    ("no pools", Shape(), [], []),
    ("moved: there and nowhere else", Shape(clouds=(Cloud.AWS,), moved_to=Cloud.GCP), [T4, TWO_T4], ["t4x2"]),
    ("moved, also out of a pool", Shape(pool="t4", moved_to=Cloud.GCP), [T4, TWO_T4], ["t4x2"]),
    ("moved, and nobody is there", Shape(clouds=(Cloud.LOCAL,), moved_to=Cloud.GCP), [GONE, CPU], ["cpu", "gone"]),
    ("moved, and all are leaving there", Shape(moved_to=Cloud.GCP), [LEAVING, CPU], ["cpu", "leaving"]),
    ("moved, and nothing there fits", Shape(gpu="A100", moved_to=Cloud.GCP), [T4, TWO_T4], []),
    ("who has refused comes last", Shape(refused_by=("a",)), [_pool("a"), _pool("b", running=3)], ["b", "a"]),
    (
        "where its freight is",
        Shape(freight=(HEAVY,)),
        [_pool("a", store="s3://a"), _pool("b", id=2, store="gs://b")],
        ["b", "a"],
    ),
    (
        "a free slot before a full pool nearby",
        Shape(freight=(HEAVY,)),
        [_pool("a", running=4, store="gs://b"), _pool("b", id=2, store="s3://a")],
        ["b", "a"],
    ),
]


@pytest.mark.parametrize(("shape", "pools", "names"), [row[1:] for row in FITS], ids=[row[0] for row in FITS])
def test_fitting_pools_best_first(shape: Shape, pools: list[PoolState], names: list[str]) -> None:
    decision = place(shape, pools)
    assert [pool.name for pool in decision.pools] == names
    assert [one.pool for one in decision.considered] == [pool.name for pool in pools]


VERDICTS: list[tuple[Shape, PoolState, str]] = [
    (Shape(), CPU, "fits, 4 of 4 slots free"),
    (Shape(), BUSY, "fits, 0 of 4 slots free"),
    (Shape(), EMPTY, "fits, but no worker is online"),
    (Shape(), DRAINING, "fits, but its workers are draining"),
    (Shape(gpu="T4:1"), CPU, "has no GPU, not T4:1"),
    (Shape(gpu="T4:2"), T4, "has T4:1, not T4:2"),
    (Shape(clouds=(Cloud.AWS, Cloud.GCP)), CPU, "is on local, not on aws or gcp"),
    (Shape(pool="x"), CPU, "not the pool asked for (x)"),
    (Shape(nodes=4), CPU, "runs jobs of one node, not of 4"),
]


@pytest.mark.parametrize(("shape", "pool", "verdict"), VERDICTS, ids=[row[2] for row in VERDICTS])
def test_each_pool_gets_a_verdict_in_words(shape: Shape, pool: PoolState, verdict: str) -> None:
    (considered,) = place(shape, [pool]).considered
    assert considered.verdict == verdict


@pytest.mark.parametrize(
    ("shape", "pools", "message"),
    [
        (Shape(), [], "Waiting: there is no pool yet."),
        (Shape(gpu="T4:1"), [CPU], "Waiting: no pool fits. cpu: has no GPU, not T4:1."),
        (Shape(), [EMPTY, DRAINING], "Waiting: no worker of pool draining, empty is online."),
        (Shape(), [BUSY, EMPTY], "Waiting for a free slot in busy (4 of 4 slots run)."),
    ],
)
def test_the_wait_has_a_reason_in_words(shape: Shape, pools: list[PoolState], message: str) -> None:
    assert place(shape, pools).message == message


def test_the_window_of_a_pool_is_two_per_slot() -> None:
    assert _pool("a", slots=4).room == 8
    assert _pool("a", slots=4, dispatched=5, running=4).room == 3
    assert _pool("a", slots=1, dispatched=5).room == 0
    assert _pool("a", slots=0).room == 0


def test_jobs_of_one_shape_have_one_key() -> None:
    one = Command(name="a", command=("x",), placement=Placement(clouds=(Cloud.GCP, Cloud.AWS)))
    other = Command(name="b", command=("y",), placement=Placement(clouds=(Cloud.AWS, Cloud.GCP)))
    assert Shape.of(one).key() == Shape.of(other).key()
    assert Shape.of(one).key() == '{"clouds":["aws","gcp"]}'
    assert Shape.of(Command(name="a", command=("x",))).key() == "{}"


def test_a_shape_survives_the_way_through_its_key() -> None:
    gpu = Command(name="a", command=("x",), resources=Resources(gpu="a100:2", nodes=3))
    shape = Shape.of(gpu)
    assert Shape.model_validate_json(shape.key()) == shape
    assert (shape.gpu, shape.nodes) == ("A100:2", 3)


def test_the_cheapest_way_counts_and_the_verdict_says_what_it_costs() -> None:
    places = {"near": ("gcp", "gs://here"), "far": ("azure", "az://here"), "dear": ("aws", "s3://here")}
    pools = [
        _pool(name, id=number, cloud=cloud, store=store) for number, (name, (cloud, store)) in enumerate(places.items())
    ]
    shape = Shape(freight=(Freight(size=3 * 1024**3, stores=("gs://b", "s3://c")),))
    usd = {("gcp", "azure"): 0.2, ("aws", "azure"): 0.1, ("aws", "gcp"): 0.5}
    decision = place(shape, pools, lambda source, target: usd.get((source[0], target[0]), 0.0))
    assert [pool.name for pool in decision.pools] == ["dear", "near", "far"]
    assert [(one.bytes_to_move, round(one.egress_usd, 2)) for one in decision.considered] == [
        (3 * 1024**3, 0.0),
        (3 * 1024**3, 0.3),
        (3 * 1024**3, 0.0),
    ]
    assert decision.considered[1].verdict == "fits, 4 of 4 slots free; 3.0 GiB to move for $0.30"


def test_freight_is_rounded_so_that_there_are_few_shapes() -> None:
    sizes = [0, 1, 2**20, 2**20 + 1, 3 * 2**30]
    rounded = [Freight(size=size, stores=("s3://a",)).rounded().size for size in sizes]
    assert rounded == [0, 2**20, 2**20, 2**21, 2**32]


A, B, GPU, OWN = Shape(), Shape(pool="cpu"), Shape(gpu="T4:1"), Shape(own=True)


@pytest.mark.parametrize(
    ("backlog", "pools", "placed"),
    [
        ({}, [CPU], {}),
        ({A: [1, 2]}, [], {}),
        ({A: [1, 3], B: [2, 4]}, [_pool("cpu", slots=1)], {1: [1, 2]}),
        ({A: [1, 3], OWN: [4, 5]}, [_pool("cpu", slots=1)], {1: [4, 5]}),
        ({B: [5], A: [1, 2, 3]}, [_pool("cpu", slots=2)], {1: [1, 2, 3, 5]}),
        ({GPU: [1, 2], A: [3]}, [_pool("cpu", slots=1)], {1: [3]}),
        ({A: [1, 2, 3, 4]}, [_pool("cpu", slots=2), _pool("more", id=2, slots=2)], {1: [1, 3], 2: [2, 4]}),
        (
            {A: [1, 2]},
            [_pool("cpu", slots=1, running=1, dispatched=1), _pool("t4", id=2, gpu="T4:1")],
            {1: [1], 2: [2]},
        ),
    ],
    ids=[
        "nothing waits",
        "no pool",
        "by age",
        "by age over shapes",
        "own work",
        "no room",
        "idle slots first",
        "spare the GPU",
    ],
)
def test_windows_are_shared_out(
    backlog: dict[Shape, list[int]], pools: list[PoolState], placed: dict[int, list[int]]
) -> None:
    assert share_out(backlog, pools, {pool.id: pool.room for pool in pools}) == placed


def test_a_limit_of_cost_is_a_limit_of_what_an_hour_costs_on_all_nodes() -> None:
    def rate(**fields: Any) -> float | None:
        return Shape.of(Command(name="a", command=("true",), **fields)).max_rate

    assert rate() is None
    assert rate(max_cost_usd=2) == 2
    assert rate(max_cost_usd=2, resources=Resources(nodes=4)) == 0.5
    assert rate(max_cost_usd=2, timeout="15m") == 8
    assert len({rate(max_cost_usd=3 + job / 10_000) for job in range(10_000)}) == 100, "few shapes"
    (pool,) = place(Shape(max_rate=rate(max_cost_usd=32.77)), [_pool("exact", usd_per_hour=32.77)]).pools
    assert pool.name == "exact"


def test_what_spot_and_price_rule_out_is_said() -> None:
    spec = Command(name="a", command=("true",), max_cost_usd=0.5)
    said = {one.pool: one for one in place(Shape.of(spec), [CHEAP, DEAR, CPU]).considered}
    assert [said[pool].misfit for pool in ("cheap", "dear", "cpu")] == [Misfit.SPOT, Misfit.PRICE, None]
    assert said["dear"].verdict == "costs $0.75 an hour; the job's limit allows $0.5"
    assert said["cpu"].verdict.endswith("has no price, so the job's limit of cost does not count there")
