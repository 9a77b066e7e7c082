"""A version that serves beside the champion: watched, and ended by rule."""
