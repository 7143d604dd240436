"""Jobs: synthetic tables from fitted figures, arrival processes, and readers of real traces."""
