"""``selfemo annotate``: the rows of any file again, each with the emotions of its turn and how likely they are.

In the order in which they are called: ``source`` (what was given), ``belief`` (how far readings can be trusted),
``job`` (what is to be done, and what of it is done already), ``index`` (the turns, in the order of their dialogues),
``batches`` (turns are read, a batch at a time), ``added`` (what is said of a turn), ``write`` and ``tables`` (the rows,
with that).
"""
