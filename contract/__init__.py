"""What travels between server, workers and clients: pydantic models and nothing else."""
