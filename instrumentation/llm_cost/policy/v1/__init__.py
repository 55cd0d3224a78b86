"""Generated from policy.proto by `make proto`; not edited by hand."""
