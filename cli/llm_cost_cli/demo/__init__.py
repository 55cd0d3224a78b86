"""A whole SaaS on loopback: providers, an application, its users, and the check of the sums."""
