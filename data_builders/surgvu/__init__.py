"""SurgVU: robotic training sessions with tasks and tools."""
