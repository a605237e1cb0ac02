"""`python -m edgebehave_cli`, as torchrun starts it: the `edgebehave` command."""

from edgebehave_cli.launcher import main

if __name__ == "__main__":
    main()
