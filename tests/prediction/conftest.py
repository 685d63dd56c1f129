"""One classifier and two videos for all tests of predictions."""

import pytest

from tests.data_builders.fake_video import write_video
from tests.prediction.workdirs import pictures, save_classifier


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """one.mp4 and two.mp4, 20 seconds each at 8 frames a second."""
    folder = tmp_path_factory.mktemp("videos")
    for k, name in enumerate(("one.mp4", "two.mp4")):
        write_video(folder / name, pictures(160, seed=k), fps=8.0, size=(64, 48))
    return folder
