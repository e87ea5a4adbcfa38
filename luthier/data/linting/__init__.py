"""What lint and its checks share: the pass over rows, the report, words about texts."""
