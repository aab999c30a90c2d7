"""`python -m secateur`, the same as the console script."""

from secateur.pipeline.cli import main

if __name__ == "__main__":
    main()
