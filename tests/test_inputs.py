"""How configs name sources."""

import pytest

from surgrec_jax.config import ConfigError
from surgrec_jax.inputs import SourceName, parse_sources


def test_sources():
    assert parse_sources("cholec80, phantom_surgery/tiny@val") == [
        SourceName("cholec80", None, "train", None),
        SourceName("phantom_surgery", "tiny", "val", None),
    ]
    assert parse_sources("a=2,b/c=0.5") == [
        SourceName("a", None, "train", 2.0),
        SourceName("b", "c", "train", 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "''"),
        ("a,,b", "''"),
        ("../a", "'../a'"),
        ("a=1,b", "every source a weight, or none"),
        ("a=1e", "'1e' is not a number"),
    ],
)
def test_what_is_not_a_source(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_sources(text)
