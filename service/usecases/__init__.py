"""What the service does, one verb a file: load, decide with the domain's rules, apply in one transaction."""
