"""Where the real recordings, models and reference outputs are, if they are there at all; tests that need them skip and say so."""

import os

# Small work on many threads waits for its threads, above all where several test runs share a machine. Before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest


def _folder(variable: str):
    def find(name: str) -> Path:
        root = os.environ.get(variable)
        if not root:
            pytest.skip(f"{variable} is not set")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"{name} is not in ${variable}")
        return path

    return find


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Parsed poses are kept in a folder of the test run, not in the user's, unless the caller names one."""
    os.environ.setdefault("KINEMA_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def data_root():
    """`data_root("utd-mhad")`: folder of a real data set."""
    return _folder("KINEMA_DATA")


@pytest.fixture(scope="session")
def golden():
    """`golden("streams_3d_1person.npz")`: outputs of reference implementations."""
    return _folder("KINEMA_GOLDEN")


@pytest.fixture(scope="session")
def models():
    """`models("efficientgcn_b0_ntu60_xsub.pt")`: published weights."""
    return _folder("KINEMA_MODELS")
