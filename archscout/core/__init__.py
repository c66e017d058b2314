"""What things are. The standard library and NumPy only; no torch at run time."""
