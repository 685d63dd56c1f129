"""From embeddings, clusters and a few numbers to the manifest of a corpus."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surgrec_jax.curation.balance import Leaf, cap_repeats, make_leaves, tree_weights
from surgrec_jax.curation.cluster import Tree
from surgrec_jax.curation.shards import Embeddings, Facts, identity
from surgrec_jax.data.sampling.leaves import integer_counts
from surgrec_jax.data.sampling.manifest import Manifest, write_manifest
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError, DataError, UserError

GROUPS = ("", "source", "domain", "case")


@dataclasses.dataclass(frozen=True)
class Balance:
    """How leaves are weighed; the fields of `config.balance` of the same names.

    Attributes:
      group: what stands above the clusters, or alone. group_temperature: of its shares.
      temperature: of the shares of the clusters of one parent.
      curriculum: (first draw, temperature) stages instead of `temperature`.
      max_repeats: of a record in the planned draws, 0 for no limit.
      record_weights: a .npy of float [R], in the order of the sources' records, or "".
    """

    group: str = ""
    group_temperature: float = 0.5
    temperature: float = 0.0
    curriculum: tuple[tuple[int, float], ...] = ()
    max_repeats: float = 0.0
    record_weights: str = ""

    def __post_init__(self):
        if self.group not in GROUPS:
            raise ConfigError(f"balance.group={self.group!r}: choose from {GROUPS}")


def parse_curriculum(text: str) -> tuple[tuple[int, float], ...]:
    """Stages of "first_draw:temperature,...", e.g. "0:1,500000:0".

    Raises:
      ValueError: a part that is not of this form, a first stage that is not from draw 0, or one
        that does not begin after the one before it.
    """
    stages = []
    for part in (p.strip() for p in text.split(",") if p.strip()):
        first, _, alpha = part.partition(":")
        try:
            stages.append((int(first), float(alpha)))
            if not math.isfinite(stages[-1][1]):
                raise ValueError(alpha)
        except ValueError:
            raise ConfigError(
                f"balance.curriculum: {part!r} is not first_draw:temperature, e.g. 0:1,500000:0"
            ) from None
    if stages and stages[0][0] != 0:
        raise ConfigError(
            f"balance.curriculum: the first stage begins at draw {stages[0][0]}, not 0"
        )
    for (before, _), (first, alpha) in itertools.pairwise(stages):
        if first <= before:
            raise ConfigError(
                f"balance.curriculum: stage {first}:{alpha:g} begins no later than the one before "
                f"it, at draw {before}"
            )
    return tuple(stages)


def group_of(
    kind: str, facts: Facts, source_names: Sequence[str], domain_names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """The group of every record, int [R] without gaps, and the groups' names."""
    if kind == "source":
        return facts.source, list(source_names)
    if kind == "case":
        return facts.case, list(facts.cases)
    found, code = np.unique(facts.domain, return_inverse=True)
    return code, [domain_names[d] if d >= 0 else "unknown" for d in found]


def make_manifest(
    path: Path,
    embeddings: Embeddings,
    tree: Tree | None,
    balance: Balance,
    *,
    facts: Facts,
    domain_names: Sequence[str],
    source_weights: Sequence[float] | None,
    planned_draws: int,
    inputs: dict,
) -> tuple[Manifest, Leaf]:
    """Writes the manifest of a corpus.

    Args:
      tree: the clusters, None for groups alone.
      source_weights: of the group "source", instead of its temperature.
      inputs: JSON values for the file: what `tree` was made from.

    Returns:
      The manifest, and the leaf of every record.

    Raises:
      DataError, ValueError: weights that cannot be used; file and entry are named.
    """
    sources = embeddings.index["sources"]
    names = [source["name"] for source in sources]
    group = None
    if balance.group:
        group = (balance.group, group_of(balance.group, facts, names, domain_names)[0])
    counts = read_weights(balance, source_weights, len(embeddings))
    clusters = None if tree is None else (tree.leaf, tree.paths)
    leaves = make_leaves(len(embeddings), group, clusters, counts)
    drawn = leaves.leaf_of >= 0
    often = np.ones(len(embeddings)) if counts is None else counts
    sizes = np.bincount(leaves.leaf_of[drawn], often[drawn], len(leaves.paths))
    heaviest = np.zeros(len(leaves.paths))
    np.maximum.at(heaviest, leaves.leaf_of[drawn], often[drawn])
    stages = []
    for first, alpha in balance.curriculum or ((0, balance.temperature),):
        temperatures = [alpha] * len(leaves.levels)
        if group is not None:
            temperatures[0] = balance.group_temperature
        weights = tree_weights(leaves.paths, sizes, temperatures, source_weights)
        if balance.max_repeats:
            # A leaf is drawn as often as its heaviest record may be.
            records = sizes / heaviest
            weights = cap_repeats(weights, records, planned_draws, balance.max_repeats)
        stages.append((first, weights))
    described = {
        **inputs,
        "embeddings": {
            "index": embeddings.hash,
            "encoder": identity(embeddings.index)["encoder"],
            "clip": embeddings.index["clip"],
        },
        "balance": {**dataclasses.asdict(balance), "planned_draws": planned_draws},
    }
    manifest = write_manifest(
        path,
        sources=sources,
        levels=leaves.levels,
        leaf_of=leaves.leaf_of,
        paths=leaves.paths,
        stages=stages,
        inputs=described,
        counts=counts,
    )
    return manifest, leaves


def read_weights(
    balance: Balance, source_weights: Sequence[float] | None, records: int
) -> np.ndarray | None:
    """Record weights as integer counts, int64 [R]; None where there is no file of them.

    Raises:
      DataError: not a vector of one finite number >= 0 per record. ValueError: weights of
        sources that would not be used.
    """
    if source_weights is not None and balance.group != "source":
        raise ConfigError(
            "weights of sources are used with --config.balance.group=source only; leave them out"
        )
    file = balance.record_weights
    if not file:
        return None
    try:
        weights = untrusted.read_array(Path(file))
    except (OSError, UserError) as error:
        raise DataError(f"balance.record_weights cannot be read: {error}") from None
    if weights.shape != (records,) or weights.dtype.kind not in "fiu":
        raise DataError(
            f"{file} holds {weights.dtype} {list(weights.shape)}; record weights are one number "
            f"for each of {records} records"
        )
    try:
        return integer_counts(weights)
    except UserError as error:
        raise DataError(f"{file}: {error}") from None
