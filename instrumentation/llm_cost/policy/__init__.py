"""May they call: the client of the policy service."""
