"""Mistakes that a user can mend."""


class ConfigError(ValueError):
    """A value that was chosen (in a config, by a flag, as an argument) cannot be used."""
