"""Runs, trainings and studies: the plan is carried out, and each result is written."""
