"""Embeds, clusters, balances, reports; configs/curation.py explains all values.

    python -m surgrec_jax.curation --config=configs/curation.py --config.checkpoint=RUN

Several processes share the work, and the folder of the results, where --distributed or
--coordinator says where they are, as in `surgrec_jax.main`.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import flags
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, commands, inputs, next_commands, sharding
from surgrec_jax.commands import CONFIG, quiet
from surgrec_jax.config.values import check_numbers, flatten
from surgrec_jax.curation import cluster, mixing, report
from surgrec_jax.curation.embed import Named, embed
from surgrec_jax.curation.kmeans import Lloyd
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.frozen import lineage
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.hosts import config_agreement, launch_flags
from surgrec_jax.records.names import parse_sources
from surgrec_jax.safety.errors import ConfigError

flags.adopt_module_key_flags(commands)  # --help lists them
flags.adopt_module_key_flags(launch_flags)

# Least values of the numbers of the config.
LEAST = {
    **dict.fromkeys(("embed.clips_per_record", "embed.shard_records", "embed.num_threads"), 1),
    **dict.fromkeys(("cluster.iterations", "cluster.block_tiles"), 1),
    **dict.fromkeys(("cluster.components", "cluster.tolerance", "cluster.seed"), 0),
    **dict.fromkeys(("cluster.resample_rounds", "cluster.resample_points"), 0),
    **dict.fromkeys(("balance.max_repeats", "report.clusters"), 0),
    **dict.fromkeys(("plan.steps", "plan.batch_size", "report.frames", "report.size"), 1),
}


def run(config: ConfigDict) -> Path:
    """Embeds, clusters, writes the manifest and the report; returns the manifest's path.

    All processes embed and cluster, and the first one writes.

    Raises:
        UserError, OSError: a mistake or a fault, in one sentence.
    """
    began = time.perf_counter()
    lead = jax.process_index() == 0

    def say(line: str) -> None:
        if lead:
            print(f"[{time.perf_counter() - began:5.0f} s] {line}", flush=True)

    # All inputs are read before anything is computed.
    if not config.checkpoint:
        raise ConfigError("nothing to embed with: give --config.checkpoint=WORKDIR")
    out = Path(config.out or checkpoint.beside(config.checkpoint, "curation"))
    check_numbers(config, LEAST)
    settings, balance, lloyd = _settings(config, say)
    encoder = load_encoder(config.checkpoint)
    sources_text = config.sources or lineage.trained_on(encoder.meta)
    if not sources_text:
        raise ConfigError(
            f"{config.checkpoint} does not say what data it was trained on: name yours by "
            "--config.sources=NAME"
        )
    say(f"data: {sources_text}")
    names = parse_sources(sources_text)
    sources = [inputs.open_named(name, config.data_dir) for name in names]
    named = [Named(name.text, source) for name, source in zip(names, sources, strict=True)]
    config_agreement.check_same("data", [[n.name, n.source.fingerprint] for n in named])
    explicit = None if names[0].weight is None else [name.weight for name in names]
    records = sum(map(len, sources))
    mixing.read_weights(balance, explicit, records)
    if settings.levels and settings.levels[0] > records:
        raise ConfigError(
            f"cluster.levels={config.cluster.levels}: {sources_text} has {records} records, "
            f"fewer than {settings.levels[0]} clusters; lower it or add sources"
        )

    # Embeddings.
    speed = embed(
        encoder,
        config.checkpoint,
        named,
        out / "embeddings",
        **config.embed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    multihost_utils.sync_global_devices("every process has made its shards")
    embeddings = Embeddings(out / "embeddings")
    pace = "kept from before" if speed is None else f"{speed:.0f} clips/s"
    say(f"embeddings of {len(embeddings)} records, {embeddings.width} wide: {pace}")

    # Clusters.
    tree = None
    if settings.levels:
        tree = cluster.cluster(
            out / "clusters", embeddings, {"index": embeddings.hash}, settings, lloyd, write=lead
        )
    if lead:
        _write(config, out, embeddings, tree, balance, explicit, sources, say)
        manifest = out / "manifest.json"
        next_commands.say(next_commands.after_curation(sources_text, config.data_dir, manifest))
    multihost_utils.sync_global_devices("the first process has written everything")
    return out / "manifest.json"


def _write(config, out, embeddings, tree, balance, source_weights, sources, say) -> None:
    """Writes the manifest and the report."""
    facts, planned = embeddings.facts(), config.plan.steps * config.plan.batch_size
    manifest, leaves = mixing.make_manifest(
        out / "manifest.json",
        embeddings,
        tree,
        balance,
        facts=facts,
        source_weights=source_weights,
        planned_draws=planned,
        inputs={"clusters": config.cluster.to_dict() if tree else None},
    )
    say(f"{manifest.path}: {len(manifest.leaves)} leaves, hash {manifest.hash[:12]}")
    page = report.write_report(
        out / "report.html",
        manifest,
        leaves,
        tree,
        facts=facts,
        sources=sources,
        planned_draws=planned,
        **config.report,
    )
    say(f"report {page}")


def _settings(
    config: ConfigDict, say: Callable[[str], None]
) -> tuple[cluster.Settings, mixing.Balance, Lloyd]:
    """The frozen values of `config.cluster` and `config.balance`."""
    values = config.cluster.to_dict()
    levels = values.pop("levels")
    try:
        numbers = tuple(int(n) for n in levels.split(",") if n.strip())
    except ValueError:
        raise ConfigError(
            f"cluster.levels={levels!r}: give whole numbers with commas, e.g. 1000,100,10"
        ) from None
    lloyd = Lloyd(
        sharding.make_mesh(),
        iterations=values["iterations"],
        tolerance=values["tolerance"],
        block_tiles=values.pop("block_tiles"),
        say=say,
    )
    weighing = config.balance.to_dict()
    curriculum = mixing.parse_curriculum(weighing.pop("curriculum"))
    return (
        cluster.Settings(levels=numbers, **values),
        mixing.Balance(curriculum=curriculum, **weighing),
        lloyd,
    )


def main(argv: Sequence[str]) -> int:
    """Curates; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    quiet()

    def work() -> int:
        run(CONFIG.value)
        return 0

    return launch_flags.run("curation", flatten(CONFIG.value.to_dict()), work)


if __name__ == "__main__":
    commands.start("curation", main, config="configs/curation.py")
