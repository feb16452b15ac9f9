"""Measurements: a claim, its command, the hardware, and figures against what a user would run instead."""
