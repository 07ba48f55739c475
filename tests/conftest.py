import pytest


@pytest.fixture(autouse=True)
def read_in_this_process(monkeypatch):
    """Few made-up images need no process of their own; tests/ingest/test_reading.py takes this back."""
    from synthcohort.ingest import reading

    monkeypatch.setattr(reading, "IN_PROCESS_FILES", 10_000)
