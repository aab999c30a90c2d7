"""What a device says about itself while something is measured on it: clocks, temperatures, throttling and power.

Nothing but the standard library of Python 3.8 and newer: these files are copied to devices.
"""
