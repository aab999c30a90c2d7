"""What a bundle carries and runs on a device: checks, inference and timing with nothing but numpy and one runtime.

The files of this room are copied into every bundle as `bundle_runner/`. They are written for Python 3.8 and newer,
import each other relatively, and know nothing of secateur.
"""
