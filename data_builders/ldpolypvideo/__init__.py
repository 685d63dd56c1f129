"""LDPolypVideo: polyps in frames of colonoscopy."""
