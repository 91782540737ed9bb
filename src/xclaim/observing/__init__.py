"""What a dashboard, a scrape or a person sees of queues: bounded questions, and values to show."""
