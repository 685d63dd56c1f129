"""SurgicalActions160: 160 short clips of 16 gynecologic actions."""
