"""Several processes of one run: how they meet, agree on a config, and miss one another."""
