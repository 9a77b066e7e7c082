"""What runs a model: where weights come from, the engines that sample, the shared-prefix packing."""
