"""Template engine: two dialects, options, inversion, shots."""
