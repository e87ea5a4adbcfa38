"""Is the tuned model better than what is cheaper, and can its confidence be trusted?"""
