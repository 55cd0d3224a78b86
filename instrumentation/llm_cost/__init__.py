"""What each user and plan tier of an LLM product costs to serve, and limits that hold."""
