"""Shared by the tests of builders."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real video files that nobody here wrote, beside the checkout where they are at hand."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("the sample videos (shared/samples beside the checkout) are not here")
    return folder
