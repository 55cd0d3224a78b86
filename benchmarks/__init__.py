"""Measurements of this project. They print; they never pass or fail on time."""
