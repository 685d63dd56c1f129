"""Kvasir-Capsule: findings in frames of capsule endoscopy."""
