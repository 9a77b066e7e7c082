"""One folder for each pipeline step: a thin KFP component over `selfemo.steps`."""
