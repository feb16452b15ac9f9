"""The commands of `stagetune`, a subject a file."""
