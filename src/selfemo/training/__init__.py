"""Supervised warm-up and SELF-GRPO."""
