"""Training of one stage: torch and nothing else of this project."""
