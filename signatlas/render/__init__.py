"""RGB frames for models that take pictures: of the real video where there is one, drawn from poses where not."""
