"""`python -m bifrost` is the command line."""

from bifrost.cli import main

if __name__ == "__main__":
    main()
