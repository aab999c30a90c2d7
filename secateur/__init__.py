"""secateur: explanation-guided structural pruning of timm models, through ONNX to TensorRT."""

__version__ = "0.1.0"
