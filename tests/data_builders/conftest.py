"""Shared by the tests of builders."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def samples() -> Path:
    """Sample videos beside the checkout, in ../shared/samples, if there are any."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("no sample videos beside the checkout (../shared/samples)")
    return folder
