"""The ideas of SELF-EMO, a file each: prompts, self-play, rewards, the flywheel, the guard, evaluation, the gate."""
