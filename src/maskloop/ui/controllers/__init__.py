"""What the window knows and can do, one part per tab, without Qt."""
