"""The data lineage of a checkpoint: all data that its weights were trained on.

A checkpoint's "sources" are those of its run and, of a run that began with another's weights, those
behind them. The latter carry "through", the checkpoint they came by; one that does not say what it
was trained on is an entry without a split. So a score of a fine-tuned encoder is still held against
its pretraining (`audits.Audits.overlap`).
"""

from typing import Any


def earlier(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a checkpoint's sources that its run took over with another's weights."""
    return [entry for entry in meta["sources"] if "through" in entry]


def trained_on(meta: dict[str, Any]) -> str:
    """The sources of a checkpoint's run as its config names them; "" where it does not say."""
    config = meta.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    text = data.get("sources") if isinstance(data, dict) else None
    return text if isinstance(text, str) else ""


def complete(meta: dict[str, Any]) -> bool:
    """Whether a checkpoint records all data that its weights were trained on."""
    sources = meta.get("sources")
    if not isinstance(sources, list) or not sources:
        return False
    config = meta.get("config", {})
    if config.get("init_from") and config.get("init_weights", True) and not earlier(meta):
        return False  # written before this was recorded
    return all("split" in entry for entry in sources)


def behind(meta: dict[str, Any], through: str) -> list[dict[str, Any]]:
    """The entries that a run's sources get for weights it takes or learns from.

    Args:
        meta: of the checkpoint that they come by.
        through: the path by which it was named.
    """
    if not complete(meta):
        return [{"name": meta["name"], "through": through}]
    return [{"through": through, **entry} for entry in meta["sources"]]
