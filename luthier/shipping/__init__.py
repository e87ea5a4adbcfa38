"""The shipping stage: exports that are proven, and their model card."""
