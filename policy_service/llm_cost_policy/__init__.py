"""The policy service: may this user make this call, and what did it cost."""
