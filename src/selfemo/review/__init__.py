"""Turns that are worth a person's minute, and the labels that people give them as gold (docs/feedback.md)."""
