"""Eight CPU devices for every test, so that sharding is real."""

import os
import signal

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Not safe with several CPU devices: sharding.make_mesh.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
# Tests interrupt what they start; what a shell runs in its background would ignore that.
signal.signal(signal.SIGINT, signal.default_int_handler)
