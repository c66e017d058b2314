"""Data sets. What a data plug-in of one's own needs stands here (docs/extending.md)."""

from archscout.data._contents import Contents, DataSet, FlipRule, Found, Place, from_array

__all__ = ["Contents", "DataSet", "FlipRule", "Found", "Place", "from_array"]
