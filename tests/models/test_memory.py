"""Keeping freed memory: page faults go away."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from synthcohort.models.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"1" * (40 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries keep memory in their own way")
def test_big_pieces_are_not_cleared_anew_each_time() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], check=True, capture_output=True).stdout)
        for keep in (True, False)
    )
    assert kept < 0.2 * given_back
