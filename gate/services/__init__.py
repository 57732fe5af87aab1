"""The verify services of health codes: asked over HTTPS by a thread of their own, answered in our words.

`settings` what a province's service looks like, `messages` question and answer, `https` the way there,
`breaker` when to stop asking, `health_code` all of it together, `desk` the thread.
"""
