"""`python -m mlc` is the `mlc` command."""

from mlc.cli import main

if __name__ == "__main__":
    main()
