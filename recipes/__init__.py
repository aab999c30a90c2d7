"""Recipes to copy: `secateur recipes` lists them, `secateur recipes NAME` prints one."""
