"""A probe of opened sources, for tests."""

from surgrec_jax import probe
from surgrec_jax.evaluation.benchmark.columns import groups
from surgrec_jax.evaluation.benchmark.compare import compare


def probe_sources(candidates, sources, tasks, settings, folder):
    """Results and predictions of encoders on tasks of one source (split -> source)."""
    name = tasks[0].source if tasks else ""
    measured, cells = compare(candidates, {name: tasks}, {name: sources}, settings, folder)
    return measured, probe.predictions(cells, groups(candidates, settings))
