"""The pages of a leaderboard: markdown, CSV and JSON."""
