"""The table of engines.

It decides what a step's samples are, so unlike other code of the configuration it is a part of addresses.
"""

ENGINES = {
    "transformers": "selfemo.policy.trees.sampler:start",
    "vllm": "selfemo.policy.vllm_engine:start",
}
"""What can sample, by the function that starts it, given a directory, its tokenizer and the section ``policy``. It is
imported when it is needed: each needs a library that others do without."""
