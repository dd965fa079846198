"""Roll-outs: a change of one key reaches the named instances in steps, and each step waits for their acknowledgements.

Beginnings arrive from the publisher, counts of instances from the fleet, and acts from people. All roll-outs that are in force
leave for the publisher and for the tracks.

    rollout.py      the nouns: a roll-out, its plan, and which instances it has reached; pure

Never imports: source, pipeline, realtime, http.
"""
