"""AIxSuture: 314 videos of students who suture, with OSATS ratings."""
