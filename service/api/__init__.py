"""HTTP and nothing else: routes, access, problems, streams and the gate before optuna-dashboard."""
