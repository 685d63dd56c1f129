"""Sources as configs and command lines write them."""

import dataclasses
import math
import re

from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class SourceName:
    """A source as configs write it: name[/config][@split][=weight]."""

    name: str
    config: str | None
    split: str
    weight: float | None

    @property
    def text(self) -> str:
        """The source without its weight, always with its split."""
        return self.name + (f"/{self.config}" if self.config else "") + f"@{self.split}"


def parse_sources(text: str) -> list[SourceName]:
    """Parses a comma-separated list of sources, e.g. "cholec80=2,phantom_surgery/tiny@train".

    Raises:
        ConfigError: a part that is not of this form, no source, weights on some sources only, or
            weights that are negative, not finite or all zero.
    """
    names = []
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"(\w+)(?:/([\w.-]+))?(?:@(\w+))?(?:=([\d.eE+-]+))?", part)
        if not match:
            raise ConfigError(f"source {part!r} is not of the form name[/config][@split][=weight]")
        try:
            weight = float(match[4]) if match[4] else None
        except ValueError:
            raise ConfigError(f"source {part!r}: {match[4]!r} is not a number") from None
        if weight is not None and not 0 <= weight < math.inf:
            raise ConfigError(f"source {part!r}: the weight must be finite and not negative")
        names.append(SourceName(match[1], match[2], match[3] or "train", weight))
    if len({name.weight is None for name in names}) > 1:
        raise ConfigError(f"sources {text!r}: give every source a weight, or none")
    if all(name.weight == 0 for name in names):
        raise ConfigError(f"sources {text!r}: all weights are zero; at least one must be positive")
    return names
