"""The corpus that the tests of loading read, too."""

from tests.data.conftest import corpus, sources

__all__ = ["corpus", "sources"]
