"""Runs, trainings and studies: carries out the plan, and writes each result."""
