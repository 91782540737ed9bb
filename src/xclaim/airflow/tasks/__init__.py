"""What a task knows of itself: its names, its tickets, its open claims."""
