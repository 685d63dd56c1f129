"""CVC-ClinicDB: 612 frames of 29 sequences of colonoscopy, each with its polyp outlined."""
