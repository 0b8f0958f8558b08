"""The U-Net as a backend: its records, its network, its training. Loads no torch by itself."""
