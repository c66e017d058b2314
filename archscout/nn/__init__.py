"""Shared PyTorch parts."""
