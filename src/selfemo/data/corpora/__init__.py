"""One loader for each corpus, one way to call them, and the removal of leakage between them."""

from selfemo.data.corpora.load import Corpora, load_corpora, load_corpus

__all__ = ["Corpora", "load_corpora", "load_corpus"]
