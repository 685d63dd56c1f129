"""Finds the sources: every folder `<name>/` here with a `<name>_dataset_builder.py` in it."""

import difflib
import importlib

from surgrec_jax.records.errors import BuildError
from surgrec_jax.records.locate import sources


def builder_class(name: str):
    """The builder class of a source.

    Raises:
        BuildError: no such source; names the nearest ones.
    """
    known = sources()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}."
        raise BuildError(f"there is no source called {name!r}; {hint}")
    return importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder


def check_config(builder_cls, config) -> None:
    """Raises BuildError for the name of a configuration that a source has not."""
    configs = builder_cls.builder_configs
    if isinstance(config, str) and config not in configs:
        raise BuildError(
            f"{builder_cls.name} has no configuration {config!r}; there are "
            f"{', '.join(sorted(configs))}."
        )
