"""Work as data: jobs, and the one place that executes them."""
