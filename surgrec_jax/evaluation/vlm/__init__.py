"""Language models that answer in words, as columns of the benchmark."""
