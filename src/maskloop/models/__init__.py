"""What can be trained: the U-Net family, its plan, its loop."""
