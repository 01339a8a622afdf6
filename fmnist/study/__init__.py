"""Many runs: the plan, the sweep."""
