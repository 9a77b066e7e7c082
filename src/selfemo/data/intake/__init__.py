"""Conversations of one's own: files of many forms become one corpus, ``selfemo data import``.

In the order in which they are called: ``files`` (what was given), ``encodings`` and ``dialect`` (of text files),
``tables`` (rows of any file), ``columns`` and ``layouts`` (what the columns mean), ``turns`` (rows become turns),
``cells`` (what a cell says), ``staging`` (turns become dialogues), ``splits``, ``write`` (the directory).
"""
