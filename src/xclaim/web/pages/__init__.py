"""The pages and actions, a module for each subject."""
