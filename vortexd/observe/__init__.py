"""What operators see: logs, metrics and traces.

Events and finished publications arrive; log lines, Prometheus samples and OpenTelemetry spans leave.
"""
