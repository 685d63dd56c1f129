"""Video records to training batches: records, decoding, crops, sampling, the input pipeline."""
