"""The data that runs of these tests read, and whole runs that they are compared with."""

import pytest

from surgrec_jax.bench.synthetic import write_synthetic
from tests.trainer.small_run import losses, train


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder, records=8, short_side=40)
    return folder


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """Losses of a run on one device from its start to its end; each is trained once."""
    known = {}

    def losses_of(name, *more):
        if (name, *more) not in known:
            workdir = tmp_path_factory.mktemp("whole")
            done = train(name, data_dir, workdir, *more)
            assert done.returncode == 0, done.stderr
            known[name, *more] = losses(workdir)
        return known[name, *more]

    return losses_of
