"""An opened artifact: tensors in, tensors out."""
