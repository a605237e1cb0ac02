"""Start of the `edgebehave` command; without the packages of the command line it says what to install.

`edgebehave doctor`, which looks for such faults, runs without them, too.
"""

import sys


def main() -> None:
    """Run the command, or print one line and exit with 1 if its packages are missing."""
    try:
        from edgebehave_cli.app import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich", "click"):
            raise
        if sys.argv[1:2] == ["doctor"] and set(sys.argv[2:]) <= {"--json"}:
            from edgebehave_cli.diagnosis import main as diagnose

            sys.exit(diagnose("--json" in sys.argv))
        print(f"error: {error.name} is not installed; pip install 'edgebehave[cli]'", file=sys.stderr)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
