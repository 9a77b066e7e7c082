"""Tokens as trees: what sequences share is computed once, for sampling and for scoring."""
