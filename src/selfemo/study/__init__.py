"""A study: many runs that differ in one thing each, and what they come to (docs/results.md)."""
