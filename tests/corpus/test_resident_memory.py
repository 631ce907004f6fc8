"""Measure the resident memory of a process that decodes hostile inputs, native code included.

``tracemalloc`` sees Python's allocations only; protobuf, msgpack and SQLite allocate by
themselves. A child process decodes, so that its peak is measured alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Bytes by which the resident memory may grow, whatever lengths the inputs claim.
MOST_GROWTH = 64 << 20
#: Linux records the peak resident memory of a process, and resets it on demand.
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

pytestmark = pytest.mark.skipif(
    not (_STATUS.exists() and _RESET.exists()), reason="the peak is read from Linux's /proc"
)

#: Decodes everything twice: the first round imports, fills caches and lets the heap grow.
_CHILD = """
import contextlib, json, pathlib, runpy, sys, tempfile
from braft_core.errors import BraftError
from braft_core.http.problems import BadInput

conftest = runpy.run_path(sys.argv[1])
greedy = int(sys.argv[2])
inputs = list(conftest["corpus"]().values())
decoders = conftest["decoders"](pathlib.Path(tempfile.mkdtemp(dir=sys.argv[3])))

def decode_all():
    for decoder in decoders.values():
        for data in inputs:
            with contextlib.suppress(BraftError, BadInput):
                decoder(data)
    return sum(bytearray(b"x" * greedy)[:1])

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10

decoded = len(decoders) * len(inputs)
greedy, wish = 0, greedy
decode_all()
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = peak()
greedy = wish
decode_all()
print(json.dumps({"decoded": decoded, "before": before, "growth": peak() - before}))
"""


def measured(folder: Path, greedy: int) -> dict[str, int]:
    """Have a child decode the corpus; one more decoder allocates ``greedy`` bytes."""
    arguments = [str(Path(__file__).with_name("conftest.py")), str(greedy), str(folder)]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    found: dict[str, int] = json.loads(child.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_announced_lengths_take_no_memory(tmp_path: Path) -> None:
    found = measured(tmp_path, 0)
    assert found["decoded"] > 5_000
    # The first round returned its memory; else it would hide what the second takes.
    assert 8 << 20 < found["before"] < 256 << 20
    assert found["growth"] < MOST_GROWTH


@pytest.mark.slow
def test_a_decoder_that_believes_a_length_would_be_seen(tmp_path: Path) -> None:
    assert measured(tmp_path, 2 * MOST_GROWTH)["growth"] > MOST_GROWTH
