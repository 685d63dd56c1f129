"""What the weights of a run have seen before it: the data behind the checkpoint it starts from.

A checkpoint's "sources" are all data that its weights were trained on. Those of an earlier run
carry "through", the checkpoint they came by; one that does not say what it was trained on is an
entry without a split. So a score of a fine-tuned encoder is still held against its pretraining
(`audits.Audits.overlap`).
"""

from typing import Any

from ml_collections import ConfigDict

from surgrec_jax import checkpoint

Sources = list[dict[str, Any]]


def earlier_sources(config: ConfigDict) -> Sources:
    """Entries for the data behind the weights that a run begins with; none where it begins afresh.

    Raises:
        CheckpointError: `init_from` cannot be read.
    """
    if not _continues(config.init_from, config.get("init_weights", True)):
        return []
    meta = checkpoint.read_meta(checkpoint.find(config.init_from))
    through = str(config.init_from)
    if not complete(meta):
        return [{"name": meta["name"], "through": through}]
    return [{"through": through, **entry} for entry in meta["sources"]]


def kept(meta: dict[str, Any]) -> Sources:
    """The entries of `earlier_sources` in the checkpoint of a run that goes on."""
    return [entry for entry in meta["sources"] if "through" in entry]


def complete(meta: dict[str, Any]) -> bool:
    """Does a checkpoint say of all that its weights were trained on?"""
    sources = meta.get("sources")
    if not isinstance(sources, list) or not sources:
        return False
    config = meta.get("config", {})
    continues = _continues(config.get("init_from"), config.get("init_weights", True))
    if continues and not any("through" in entry for entry in sources):
        return False  # written before this was recorded
    return all("split" in entry for entry in sources)


def _continues(init_from: str | None, init_weights: bool) -> bool:
    return bool(init_from) and init_weights
