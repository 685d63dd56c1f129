"""The corpus that the tests of loading read, too."""

from tests.data.conftest import corpus

__all__ = ["corpus"]
