"""Trained networks as files that other programs read: safetensors, torch.export, ONNX, and what goes with them."""
