"""How plans, progress and reports look in a terminal and in files."""
