"""Training tasks over one shared Ray Train + DeepSpeed loop."""
