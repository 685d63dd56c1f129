"""Hyper-Kvasir: a finding per video of gastrointestinal endoscopy."""
