"""Options that the commands share, and the configuration that they make of a source's own."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_builders.common.source.builder import VideoConfig
from data_builders.common.source.registry import check_config
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.safety import files

DECODING = ("interlaced", "picture_track", "native_fps")
NOTHING: Mapping[str, Any] = MappingProxyType({})


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how videos are decoded."""
    group = parser.add_argument_group("decoding")
    group.add_argument("--interlaced", choices=["deinterlace", "keep"], help="default: deinterlace")
    group.add_argument(
        "--picture_track",
        type=int,
        metavar="N",
        help="of a file with several, from 0 (default: the first, or the first marked as default)",
    )
    group.add_argument(
        "--native_fps",
        type=float,
        metavar="RATE",
        help="pictures per second of what names none: bare streams such as .h264, folders of "
        "pictures",
    )


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of some options that were given."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def with_settings(
    builder_cls,
    config: str | VideoConfig | None,
    *,
    decode: Mapping,
    record: Mapping = NOTHING,
    filters: Mapping = NOTHING,
    duplicates: str | None = None,
) -> str | VideoConfig | None:
    """A source's configuration with the settings of the command line in place of its own.

    Without a setting it stays as it is, so that a registered one keeps its name.

    Raises:
        BuildError: the source has no such configuration.
        ConfigError: a setting cannot be used.
    """
    check_config(builder_cls, config)
    configs = builder_cls.builder_configs
    if not (decode or record or filters or duplicates):
        return config
    if config is None or isinstance(config, str):
        config = configs[config or builder_cls.DEFAULT_BUILDER_CONFIG_NAME or next(iter(configs))]
    return dataclasses.replace(
        config,
        record=dataclasses.replace(config.record, **record),
        filters=dataclasses.replace(config.filters, **filters),
        decode=dataclasses.replace(config.decode, **decode),
        duplicates=duplicates,
    )


def write_json(path: str, report: Any) -> None:
    """Writes what --json asks for.

    Raises:
        BuildError: the file cannot be written.
    """
    try:
        files.write_json(Path(path), report)
    except OSError as error:
        raise BuildError(f"cannot write {safe_text(path)}: {error.strerror}.") from error
