"""Traces of steps: what is asked for, and nothing else."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from surgrec_jax.runlog.profile import Profile


def test_the_steps_that_were_asked_for_are_traced(tmp_path, capsys):
    state = jnp.zeros(4)
    with Profile("2:4", tmp_path, 5) as profile:
        for step in range(1, 6):
            profile.before(step, state)
            with jax.profiler.TraceAnnotation(f"marker {step}"):
                state = jax.block_until_ready(state + 1)
    assert capsys.readouterr().out == f"profiler trace of 2:4 in {tmp_path}\n"
    (file,) = tmp_path.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = {event.get("name") for event in events}
    assert {"marker 2", "marker 3"} <= names
    assert not {"marker 1", "marker 4", "marker 5"} & names


def test_a_run_that_ends_within_the_trace_still_writes_it(tmp_path):
    with Profile("1:100", tmp_path, 200) as profile:
        profile.before(1, jnp.zeros(2))
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize("text", ["5", "5:5", "9:5", "a:b", "1:-2", ":", "1:2:3"])
def test_other_texts_are_refused(text, tmp_path):
    with pytest.raises(ValueError, match="100:105"):
        Profile(text, tmp_path, 1000)


@pytest.mark.parametrize("text", ["0:3", "8:12", "20:30"])
def test_steps_that_the_run_has_not_are_refused(text, tmp_path):
    with pytest.raises(ValueError, match="the run has the steps 1 to 10; .* up to 6:11"):
        Profile(text, tmp_path, 10)
    Profile("8:11", tmp_path, 10)
