"""The tests of ``make test`` and of ``make test-all`` are those that CONTRIBUTING.md names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

#: Folders with real processes, networks or builds; each has a smoke test in ``make test``.
AREAS = [
    "tests/integration",
    "tests/faults",
    "tests/packaging",
    "tests/unit/cli",
    "plugins/braft_mdns/tests",
]
MODULE = """
import pytest

@pytest.mark.{marker}
def test_left_out():
    pass

@pytest.mark.{marker}
@pytest.mark.smoke
def test_smoke():
    pass

def test_plain():
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, root: Path) -> pytest.Pytester:
    """Make a small suite with the conftest and the markers of the tree."""
    shutil.copy(root / "conftest.py", pytester.path)
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        testpaths = ["tests"]
        addopts = ["--strict-markers"]
        markers = ["integration", "faults", "peers", "slow", "smoke"]
        """
    )
    pytester.mkdir("tests")
    return pytester


def write(suite: pytest.Pytester, marker: str) -> None:
    (suite.path / "tests" / "test_made.py").write_text(MODULE.format(marker=marker))


@pytest.mark.parametrize(
    ("marker", "quick"), [("integration", 2), ("faults", 2), ("peers", 2), ("slow", 1)]
)
def test_what_is_marked_is_left_out_unless_it_is_a_smoke(
    suite: pytest.Pytester, marker: str, quick: int
) -> None:
    write(suite, marker)
    assert suite.runpytest_inprocess().parseoutcomes()["passed"] == quick
    assert suite.runpytest_inprocess("--all").parseoutcomes()["passed"] == 3


@pytest.mark.slow
def test_workers_get_the_decision(suite: pytest.Pytester) -> None:
    write(suite, "slow")
    workers = ("-n", "1", "--dist", "loadgroup")
    assert suite.runpytest_inprocess(*workers).parseoutcomes()["passed"] == 1
    assert suite.runpytest_inprocess("--all", *workers).parseoutcomes()["passed"] == 3


def test_what_is_named_is_run(suite: pytest.Pytester) -> None:
    write(suite, "slow")
    for named in (["tests/test_made.py"], ["tests"], ["-m", "slow or not slow"]):
        assert suite.runpytest_inprocess(*named).parseoutcomes()["passed"] == 3
    assert suite.runpytest_inprocess("-k", "left_out").parseoutcomes()["deselected"] == 3


def test_a_test_that_takes_too_long_is_named(suite: pytest.Pytester) -> None:
    with (suite.path / "conftest.py").open("a") as file:
        file.write("\nQUICK_SECONDS = 0.05\n")
    lines = "import time\n\ndef test_short():\n    pass\n\ndef test_long():\n    time.sleep(0.1)\n"
    (suite.path / "tests" / "test_made.py").write_text(lines)
    said = suite.runpytest_inprocess()
    said.stdout.re_match_lines([r"-+ longer than the 0\.05 s", r" +0\.\d s  .*::test_long$"])
    assert not re.search(r"s  .*::test_short", said.stdout.str())
    assert "longer than" not in suite.runpytest_inprocess("--all").stdout.str()


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_a_smoke_test(root: Path, area: str) -> None:
    modules = [path.read_text() for path in sorted((root / area).glob("test_*.py"))]
    assert any("pytest.mark.smoke" in text for text in modules)


#: Code that starts real nodes.
NODES = re.compile(r"\b(ProcessCluster|injector|make_nodes|Cluster)\((?!\))|\bmake_nodes:")
MARKED = re.compile(r"pytest\.mark\.(integration|faults)\b")


def test_every_module_with_real_nodes_says_so(root: Path) -> None:
    modules = [*root.glob("tests/**/test_*.py"), *root.glob("plugins/*/tests/test_*.py")]
    texts = {path.relative_to(root): path.read_text() for path in modules}
    real = {
        path
        for path, text in texts.items()
        if path.parts[:2] == ("tests", "integration") or NODES.search(text)
    }
    assert len(real) > 30
    assert not [path for path in sorted(real) if not MARKED.search(texts[path])]
