"""Decoders answer any input with a value or one of braft's errors, in bounded memory."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core.errors import BraftError
from braft_core.http.problems import BadInput

#: Most bytes that a decoder may allocate for an input, whatever lengths the input claims.
MOST_MEMORY = 32 << 20


def test_hostile_inputs_end_in_braft_s_errors(
    decoder: Callable[[bytes], Any], hostile: dict[str, bytes]
) -> None:
    for name, data in hostile.items():
        tracemalloc.start()
        try:
            decoder(data)
        except (BraftError, BadInput):
            pass
        except BaseException as error:
            error.add_note(f"the input: {name}")
            raise
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{name}: {peak:,} bytes"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_arbitrary_inputs_do_too(decoder: Callable[[bytes], Any], data: bytes) -> None:
    with contextlib.suppress(BraftError, BadInput):
        decoder(data)
