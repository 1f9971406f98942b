"""The network as a graph: ONNX and torch.export."""
