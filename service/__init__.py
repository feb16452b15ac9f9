"""The stagetune server."""
