"""Eight CPU devices for every test, so that sharding is real."""

import os
import signal

from hypothesis import HealthCheck, settings

from tests import one_device
from tests.xla_flags import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = xla_flags(8)
# Not safe with several CPU devices: sharding.make_mesh.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
one_device.make_folder()
# On a busy machine a slow example is no fault.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")
# Tests interrupt what they start; what a shell runs in its background would ignore that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files of long tests begin first, so that no worker is left with one when the others are done.
LONG = (
    "test_walks.py",
    "test_train_state.py",
    "test_open_benchmark.py",
    "test_processes.py",
    "test_train.py",
    "test_as_the_benchmark.py",
    "test_hub_benchmark.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)
