"""``selfemo annotate``: the rows of any file, each with the emotions of its turn, how likely each is, and whether to ask.

In the order in which they are called: ``job`` (what is to be done, and what of it is done already), ``source`` (what was
given), ``index`` (its turns, in the order of their dialogues), ``parts`` (turns are read, a part at a time), ``belief``
(how far the readings can be trusted), ``added`` (what is said of a turn), ``write`` and ``tables`` (the rows, with that).
"""
