"""What is seen of decisions: metrics by rule, the heaviest keys, and a sampled log."""
