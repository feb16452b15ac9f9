"""Pure rules: no framework, no clock, no environment, no randomness."""
