"""This machine: devices, room for runs, clocks, threads."""
