"""`python -m client` is the `stagetune` command."""

from client.cli import main

main()
