"""The commands about sessions and what they captured, a module each."""
