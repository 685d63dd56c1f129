"""From records to batches: decoding, crops, augmentation, loaders, bad records."""
