"""A version that serves beside the champion: watched, and decided by rule."""
