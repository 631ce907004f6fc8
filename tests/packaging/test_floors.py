"""``make lowest`` installs the oldest versions that the requirements allow."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

#: With older versions, any client of a port can exhaust memory or smuggle requests.
SAFE = {
    "grpcio": "1.84",
    "grpcio-health-checking": "1.84",
    "grpcio-reflection": "1.84",
    "protobuf": "7.35.1",
    "waitress": "3.0.2",
    "urllib3": "2.6.3",
    "cryptography": "44.0.1",
    "typer": "0.16",
}


@pytest.fixture(scope="module")
def lowest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".ci" / "lowest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_a_floor(lowest: ModuleType) -> None:
    requirements = lowest._requirements()
    names = {r.split(";")[0].split(">")[0].strip() for r in requirements}
    others = {name for name in names if not name.startswith("braft-")}
    assert set(lowest.floors(requirements)) == others


@pytest.mark.parametrize("name", sorted(SAFE))
def test_no_floor_is_below_what_is_safe(lowest: ModuleType, name: str) -> None:
    floor = lowest.floors(lowest._requirements())[name]
    assert lowest._key(floor) >= lowest._key(SAFE[name])


def test_the_highest_of_several_floors_counts(lowest: ModuleType) -> None:
    said = ["a>=1.9", "a>=1.10,<2", "b[x]>=2; sys_platform != 'win32'", "braft-core>=0.1,<0.2", "c"]
    assert lowest.floors(said) == {"a": "1.10", "b": "2"}


def test_the_tests_that_it_runs_exist(lowest: ModuleType) -> None:
    assert [path for path in lowest.TESTS if not (ROOT / path).exists()] == []
